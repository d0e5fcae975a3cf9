"""Time of a whole step, network included: ``pytest tests/bench --benchmark-enable -k step``.

The paper's network with random weights, each row knowing one view. ``public`` is the public implementation's loop,
``eager`` and ``fused`` are the backends. A case times one trajectory of so many steps; ``extra_info`` has the number.
For figures to quote, ``dimvida bench sampling`` times all arms in turn and puts the floor beside them. Without
``--benchmark-enable`` each case runs once, as a test, and on a small network.
"""

from __future__ import annotations

import pytest
import torch
from helpers.networks import DEVICES

from dimvida.bench import arms
from dimvida.bench.case import Case, make_case, random_model
from dimvida.models import AutoencoderConfig, ScoreConfig
from dimvida.models.checkpoint import CheckpointConfig, SamplingDefaults
from dimvida.sampling.multiview import MultiViewModel

STEPS = 2
BATCHES = [64, 256]


@pytest.fixture(scope="module", params=DEVICES)
def model(request: pytest.FixtureRequest) -> MultiViewModel:
    timed = request.config.getoption("benchmark_enable") or not request.config.getoption("benchmark_disable")
    width, time_dim = (1536, 512) if timed else (96, 16)
    config = CheckpointConfig(
        ("front", "right", "back", "left"),
        (),
        AutoencoderConfig(latent_dim=64, base=8),
        ScoreConfig(width=width, time_dim=time_dim, groups=32),
        sampling=SamplingDefaults(x0_clip=4.0),
    )
    return random_model(config).to(request.param)


def trajectory(case: Case, arm: str, dtype: torch.dtype):
    """A function that samples once."""
    if arm == "public":
        return arms.eager(case, dtype)
    return lambda: case.sample(case.network, arm, dtype=dtype)


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
def test_step(benchmark, model: MultiViewModel, arm: str, dtype: torch.dtype, batch: int):
    device = model.device
    case = make_case(model, batch, solver="euler-maruyama", steps=STEPS)
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
