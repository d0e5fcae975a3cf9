"""What the caller's torch is set to: samples stay what they are without it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import pytest
import torch
from torch import Tensor

from dimvida.diffusion.solvers import SOLVERS
from dimvida.models import ScoreNetwork
from dimvida.sampling import sample
from dimvida.sampling.backends import plain_modes

from .conftest import default_dtype, random_inputs, random_network

pytestmark = pytest.mark.usefixtures("one_thread")

BACKENDS = [("eager", None), ("fused", torch.float32), ("fused", torch.bfloat16), ("fused", torch.float16)]


@contextmanager
def deterministic() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


MODES: dict[str, Callable[[], AbstractContextManager]] = {
    "autocast to bfloat16": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "autocast to float16": lambda: torch.autocast("cpu", dtype=torch.float16),
    "default dtype float64": lambda: default_dtype(torch.float64),
    "default dtype float16": lambda: default_dtype(torch.float16),
    "default device": lambda: torch.device("meta"),
    "inference mode": torch.inference_mode,
    "no gradients": torch.no_grad,
    "gradients": torch.enable_grad,
    "deterministic algorithms": deterministic,
}


def draw(network: ScoreNetwork, backend: str, dtype: torch.dtype | None, solver: str = "sde-dpmpp-2m") -> Tensor:
    latents, known = random_inputs(5, 4, 6)
    return sample(network, latents, known, solver=solver, steps=4, seed=2, x0_clip=4.0, backend=backend, dtype=dtype)


def expect(result: Tensor, expected: Tensor) -> None:
    assert result.dtype == torch.float32 and not result.requires_grad and not result.is_inference()
    assert torch.equal(result, expected)


@pytest.mark.parametrize(("backend", "dtype"), BACKENDS, ids=str)
@pytest.mark.parametrize("mode", MODES)
def test_a_mode_changes_nothing_then_or_later(mode: str, backend: str, dtype: torch.dtype | None):
    expected = draw(random_network(), backend, dtype)
    inputs = random_inputs(5, 4, 6)
    options = {"solver": "sde-dpmpp-2m", "steps": 4, "seed": 2, "x0_clip": 4.0, "backend": backend, "dtype": dtype}
    first, used = random_network(), random_network()
    draw(used, backend, dtype)
    for network in (first, used):  # an engine built in the mode, and one built before
        with MODES[mode]():
            expect(sample(network, *inputs, **options), expected)
        expect(draw(network, backend, dtype), expected)
        with MODES[mode]():
            expect(sample(network, *inputs, **options), expected)


@pytest.mark.parametrize("solver", SOLVERS)
def test_every_solver_takes_its_numbers_in_float64_on_the_cpu(solver: str):
    network, inputs = random_network(), random_inputs(5, 4, 6)
    expected = sample(network, *inputs, solver=solver, steps=6, x0_clip=4.0, dtype=torch.float32)
    with default_dtype(torch.float16), torch.device("meta"):
        expect(sample(network, *inputs, solver=solver, steps=6, x0_clip=4.0, dtype=torch.float32), expected)


@pytest.mark.parametrize(("backend", "dtype"), BACKENDS, ids=str)
def test_inputs_and_networks_made_in_inference_mode(backend: str, dtype: torch.dtype | None):
    expected = draw(random_network(), backend, dtype)
    with torch.inference_mode():
        network = random_network()
        latents, known = random_inputs(5, 4, 6)
        ids = torch.arange(5)
    options = {"steps": 4, "seed": 2, "x0_clip": 4.0, "solver": "sde-dpmpp-2m", "backend": backend, "dtype": dtype}
    for context in (nullcontext, torch.inference_mode, nullcontext):
        with context():
            expect(sample(network, latents, known, sample_ids=ids, **options), expected)


@pytest.mark.parametrize(("backend", "dtype"), BACKENDS, ids=str)
@pytest.mark.parametrize("kind", [torch.float64, torch.bfloat16, torch.float16], ids=str)
def test_weights_of_another_dtype_are_used_as_numbers(kind: torch.dtype, backend: str, dtype: torch.dtype | None):
    network = random_network()
    draw(network, backend, dtype)
    rounded = copy.deepcopy(network).to(kind).float()
    expect(draw(network.to(kind), backend, dtype), draw(rounded, backend, dtype))
    assert network.input.weight.dtype == kind
    expect(draw(network.float(), backend, dtype), draw(rounded, backend, dtype))


@pytest.mark.parametrize("kind", [torch.float64, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("backend", ["eager", "fused"])
def test_latents_of_another_dtype_are_taken_as_numbers(backend: str, kind: torch.dtype):
    network, (latents, known) = random_network(), random_inputs(5, 4, 6)
    latents = latents.to(kind)
    options = {"steps": 3, "backend": backend, "dtype": torch.float32}
    expect(sample(network, latents, known, **options), sample(network, latents.float(), known, **options))


def test_gradients_of_the_caller_go_on():
    network = random_network()
    x = torch.randn(3, 4, 6)
    loss = network(x, torch.rand(3, 4)).square().sum()
    draw(network, "fused", torch.float32)
    loss.backward()
    assert torch.is_grad_enabled() and network.output.weight.grad is not None
    # What was sampled is a constant that may be trained on.
    network(draw(network, "fused", torch.float32), torch.rand(5, 4)).sum().backward()


def test_the_modes_are_the_callers_again_afterwards():
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.inference_mode():
        with pytest.raises(KeyError), plain_modes(torch.device("cpu")):
            assert not torch.is_inference_mode_enabled() and not torch.is_grad_enabled()
            assert not torch.is_autocast_enabled("cpu")
            raise KeyError
        assert torch.is_inference_mode_enabled() and torch.is_autocast_enabled("cpu")
    assert torch.is_grad_enabled()
