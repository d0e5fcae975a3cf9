"""Time of a whole step, network included: ``pytest tests/bench --benchmark-enable -k step``.

The paper's network with random weights, each row knowing one view. ``public`` is the public implementation's loop,
``eager`` and ``fused`` are the backends. A case times one trajectory of so many steps; ``extra_info`` has the number.
For figures to quote, ``dimvida bench sampling`` times all arms in turn and puts the floor beside them. Without
``--benchmark-enable`` each case runs once, as a test, and on a small network.
"""

from __future__ import annotations

import pytest
import torch

from dimvida.bench import baselines
from dimvida.bench.subject import Case, Subject, make_case
from dimvida.diffusion.schedule import VPSchedule
from dimvida.models import ScoreNetwork
from dimvida.sampling import sample

STEPS = 2
BATCHES = [64, 256]
DEVICES = [
    "cpu",
    pytest.param(
        "cuda",
        marks=[
            pytest.mark.gpu,
            pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device is visible"),
        ],
    ),
]


@pytest.fixture(scope="module", params=DEVICES)
def subject(request: pytest.FixtureRequest) -> Subject:
    timed = request.config.getoption("benchmark_enable") or not request.config.getoption("benchmark_disable")
    width, time_dim = (1536, 512) if timed else (96, 16)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = ScoreNetwork(4, 64, width=width, time_dim=time_dim, groups=32)
        torch.nn.init.normal_(network.output.weight, std=0.02)
    network = network.eval().requires_grad_(False).to(request.param)
    return Subject(f"width {width}", network, "noise", VPSchedule(), 4.0)


def trajectory(case: Case, arm: str, dtype: torch.dtype):
    """A function that samples once."""
    if arm == "public":
        return baselines.eager(case, dtype)
    options = {"solver": case.solver, "steps": STEPS, "seed": case.seed, "x0_clip": 4.0}
    options |= {"backend": arm, "dtype": dtype}
    return lambda: sample(case.subject.network, case.latents, case.known, **options)


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize(
    ("arm", "dtype"),
    [
        ("public", torch.float32),
        ("eager", torch.float32),
        ("fused", torch.float32),
        ("fused", torch.bfloat16),
    ],
    ids=["public-float32", "eager-float32", "fused-float32", "fused-bfloat16"],
)
def test_step(benchmark, subject: Subject, arm: str, dtype: torch.dtype, batch: int):
    device = subject.network.input.weight.device
    case = make_case(subject, batch, solver="euler-maruyama", steps=STEPS, device=device, compile_mode="default")
    run = trajectory(case, arm, dtype)

    def synchronised() -> torch.Tensor:
        out = run()
        if device.type == "cuda":
            torch.cuda.synchronize()
        return out

    benchmark.extra_info["steps"] = STEPS
    with torch.no_grad():
        run()  # builds what is built once
        out = benchmark(synchronised)
    assert out.isfinite().all()
    assert torch.equal(out[case.known], case.latents[case.known])
