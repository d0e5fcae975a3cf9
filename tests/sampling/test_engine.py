"""The fused engine against the eager network: the same numbers, and nothing rebuilt that need not be."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch
from helpers.networks import noise_network, propagate
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dimvida import ops
from dimvida.diffusion.solvers import SOLVERS, step_table
from dimvida.diffusion.step_table import StepRow, StepTable
from dimvida.errors import InputError
from dimvida.sampling import sample
from dimvida.sampling.backends import default_dtype
from dimvida.sampling.engine import Engine, engine_of
from dimvida.sampling.fused_mlp import TimeTable
from dimvida.sampling.fused_mlp_weights import fuse_weights
from dimvida.sampling.loop import run_on_engine, run_trajectory
from dimvida.sampling.trajectory import Trajectory

from .conftest import engine_run, fused_and_eager, random_inputs, random_network

CPU = torch.device("cpu")


@settings(max_examples=40)
@given(data=st.data())
def test_one_step_equals_the_eager_one(data):
    views, dim = data.draw(st.sampled_from([2, 3, 4, 24])), data.draw(st.sampled_from([1, 3, 8]))
    groups, per_group = data.draw(st.sampled_from([1, 3, 4])), data.draw(st.sampled_from([4, 5, 16]))
    network = random_network(views, dim, groups * per_group, groups, data.draw(st.integers(0, 99)))
    rows = data.draw(st.sampled_from([1, 7, 16]))
    latents, known = random_inputs(rows, views, dim, data.draw(st.integers(0, 99)))
    t = data.draw(st.floats(0.2, 1.0))
    table = StepTable((StepRow(t, sigma=0.8, m=0.6, a=0.9, b=0.2, c=0.0, d=0.3),))
    trajectory = Trajectory(table.tensor(), known, torch.arange(rows), torch.tensor([1]), None, 4.0)
    with torch.no_grad():
        fused = run_on_engine(Engine(torch.float32), network, latents.clone(), table, trajectory)
        eager = run_trajectory(network, latents.clone(), table, trajectory, ops.reference.masked_step_)
    torch.testing.assert_close(fused, eager, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("prediction", ["noise", "velocity"])
@pytest.mark.parametrize("solver", SOLVERS)
def test_a_trajectory_equals_the_eager_one(solver: str, prediction: str):
    network = random_network()
    latents, known = random_inputs(9, 4, 6)
    fused, eager = fused_and_eager(
        network, latents, known, solver=solver, steps=20, prediction=prediction, x0_clip=4.0, seed=5
    )
    torch.testing.assert_close(fused, eager, rtol=1e-4, atol=1e-4)
    assert torch.equal(fused[known], latents[known])


def test_recorded_noise():
    network = random_network()
    latents, known = random_inputs(5, 4, 6)
    noise = torch.randn(6, 5, 4, 6)
    fused, eager = fused_and_eager(network, latents, known, steps=6, noise=noise, x0_clip=4.0)
    torch.testing.assert_close(fused, eager, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_agrees_in_distribution(dtype: torch.dtype):
    network = random_network()
    latents, known = torch.zeros(2000, 4, 6), torch.zeros(2000, 4, dtype=torch.bool)
    low, full = (
        sample(network, latents, known, steps=20, backend="fused", dtype=each, x0_clip=4.0, prediction="velocity")
        for each in (dtype, torch.float32)
    )
    error = (low - full).double()
    assert float(error.abs().max()) > 0
    # The same noise, so the moments must agree much better than two independent draws would.
    standard_error = full.double().std() / full.numel() ** 0.5
    assert abs(float(error.mean())) < standard_error
    assert abs(float(low.double().var() - full.double().var())) < 2**0.5 * float(full.var()) / full.numel() ** 0.5


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_low_precision_output_keeps_the_moments_of_a_gaussian(dtype: torch.dtype):
    def network(x: Tensor, tau: Tensor) -> Tensor:
        return noise_network(x.to(dtype).float(), tau).to(dtype)

    rows, steps = 4000, 50
    latents, known = torch.zeros(rows, 2, 4), torch.zeros(rows, 2, dtype=torch.bool)
    drawn = sample(network, latents, known, steps=steps, backend="fused").double()
    mean, variance = propagate(step_table("euler-maruyama", steps).rows, 0.0, 1.0)
    assert abs(float(drawn.mean()) - mean) < 5 * (variance / drawn.numel()) ** 0.5
    assert abs(float(drawn.var()) - variance) < 5 * variance * (2 / drawn.numel()) ** 0.5


def test_the_default_dtype_may_be_named(monkeypatch):
    for name, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16), ("float16", torch.float16)):
        monkeypatch.setenv("DIMVIDA_DTYPE", name)
        assert default_dtype(CPU) == dtype
    monkeypatch.setenv("DIMVIDA_DTYPE", "float64")
    with pytest.raises(InputError, match="DIMVIDA_DTYPE=float64: choose from float32, bfloat16, float16"):
        sample(random_network(), *random_inputs(2, 4, 6), steps=2)


def test_only_what_changed_is_rebuilt():
    network = random_network()
    engine = Engine(torch.float32)
    first = engine_run(engine, network, 8)
    for rows, solver in ((8, "ddim"), (3, "ddim"), (8, "euler-maruyama")):
        again = engine_run(engine, network, rows, solver)
    assert torch.equal(again, first)
    assert engine.builds == {"weights": 1, "buffers": 1}
    engine_run(engine, network, 9)
    assert engine.builds == {"weights": 1, "buffers": 2}


def test_a_time_table_too_large_to_hold_is_made_step_by_step():
    network = random_network(24, 2)
    whole, stepwise = Engine(torch.float32), Engine(torch.float32)
    stepwise.largest_table = 0
    for solver in ("euler-maruyama", "repaint"):
        torch.testing.assert_close(engine_run(stepwise, network, 6, solver), engine_run(whole, network, 6, solver))


def test_the_time_table_holds_what_the_blocks_add():
    network = random_network()
    missing, times = torch.tensor([[0.0, 1, 1, 1], [1, 0, 0, 1]]), torch.tensor([1.0, 0.6, 0.1])
    weights = fuse_weights(network, torch.float32).time
    table = TimeTable(weights, missing, torch.tensor([1, 0]), times, network.width, 2**20)
    c = network.time_embedding(missing[1] * times[2])
    block = network.up_blocks[0]
    expected = block.time(torch.nn.functional.silu(c)) + block.linear1.bias
    torch.testing.assert_close(table.rows[1, 2, 4], expected)


def test_an_engine_lives_as_long_as_its_network():
    network = random_network()
    engine = engine_of(network, torch.float32, CPU)
    assert engine_of(network, torch.float32, CPU) is engine
    assert engine_of(network, torch.bfloat16, CPU) is not engine
    engine_run(engine, network, 3)
    gone = weakref.ref(engine)
    gc.disable()  # a GPU's memory must not wait for it
    try:
        del engine, network
        assert gone() is None
    finally:
        gc.enable()


def test_the_callers_randomness_is_left_alone():
    network = random_network()
    before = torch.random.get_rng_state()
    engine_run(Engine(torch.float32), network, 3)
    assert torch.equal(torch.random.get_rng_state(), before)
