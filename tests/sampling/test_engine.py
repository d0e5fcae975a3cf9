"""The fused engine against the eager network: the same numbers, and nothing rebuilt that need not be."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch
from helpers.networks import noise_network, propagate, random_inputs, random_network
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dimvida import ops
from dimvida.diffusion.solvers import SOLVERS, step_table
from dimvida.diffusion.step_table import StepRow, StepTable
from dimvida.errors import InputError
from dimvida.models import ScoreNetwork
from dimvida.sampling import sample, weights_copy
from dimvida.sampling.backends import default_dtype
from dimvida.sampling.engine import Engine, engine_of
from dimvida.sampling.fused_mlp import FusedScoreNetwork, TimeTable
from dimvida.sampling.fused_mlp_weights import fuse_weights
from dimvida.sampling.loop import run_steps, run_trajectory
from dimvida.sampling.trajectory import Trajectory
from dimvida.sampling.weights_copy import WeightsCopy

CPU = torch.device("cpu")


def both(network: ScoreNetwork, latents: Tensor, known: Tensor, **options) -> tuple[Tensor, Tensor]:
    eager = sample(network, latents, known, backend="eager", **options)
    fused = sample(network, latents, known, backend="fused", dtype=torch.float32, **options)
    return fused, eager


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
    fused = Engine(torch.float32).run(network, latents.clone(), table, trajectory, run_steps)
    with torch.no_grad():
        eager = run_trajectory(network, latents.clone(), table, trajectory, ops.reference.masked_step_)
    torch.testing.assert_close(fused, eager, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("prediction", ["noise", "velocity"])
@pytest.mark.parametrize("solver", SOLVERS)
def test_a_trajectory_equals_the_eager_one(solver: str, prediction: str):
    network = random_network()
    latents, known = random_inputs(9, 4, 6)
    fused, eager = both(network, latents, known, solver=solver, steps=20, prediction=prediction, x0_clip=4.0, seed=5)
    torch.testing.assert_close(fused, eager, rtol=1e-4, atol=1e-4)
    assert torch.equal(fused[known], latents[known])


def test_recorded_noise():
    network = random_network()
    latents, known = random_inputs(5, 4, 6)
    noise = torch.randn(6, 5, 4, 6)
    fused, eager = both(network, latents, known, steps=6, noise=noise, x0_clip=4.0)
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


def run(engine: Engine, network: ScoreNetwork, rows: int, solver: str = "euler-maruyama") -> Tensor:
    latents, known = random_inputs(rows, network.views, network.latent_dim)
    table = step_table(solver, 5)
    trajectory = Trajectory(table.tensor(), known, torch.arange(rows), torch.tensor([1]), None, 4.0)
    return engine.run(network, latents.clone(), table, trajectory, run_steps)


def test_only_what_changed_is_rebuilt():
    network = random_network()
    engine = Engine(torch.float32)
    first = run(engine, network, 8)
    for rows, solver in ((8, "ddim"), (3, "ddim"), (8, "euler-maruyama")):
        again = run(engine, network, rows, solver)
    assert torch.equal(again, first)
    assert engine.builds == {"weights": 1, "buffers": 1}
    run(engine, network, 9)
    assert engine.builds == {"weights": 1, "buffers": 2}


def test_new_weights_are_noticed():
    network, other = random_network(), random_network(seed=1)
    engine = Engine(torch.float32)
    before = run(engine, network, 4)
    network.load_state_dict(other.state_dict())
    loaded = run(engine, network, 4)
    assert torch.equal(loaded, run(Engine(torch.float32), other, 4)) and not torch.equal(loaded, before)
    with torch.no_grad():
        network.mid_blocks[0].norm1.bias.add_(0.5)
    assert not torch.equal(run(engine, network, 4), loaded)
    network.output.weight = torch.nn.Parameter(torch.zeros_like(network.output.weight))
    run(engine, network, 4)
    assert engine.builds["weights"] == 4


def test_an_optimiser_step_is_noticed():
    network = random_network()
    engine = Engine(torch.float32)
    before = run(engine, network, 4)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01, fused=True)
    network(torch.randn(4, 4, 6), torch.rand(4, 4)).square().sum().backward()
    optimizer.step()
    assert not torch.equal(run(engine, network, 4), before)


def changed_through_data(network: ScoreNetwork) -> None:
    network.mid_blocks[0].norm1.bias.data.add_(0.5)


def changed_by_an_array_on_the_same_memory(network: ScoreNetwork) -> None:
    network.mid_blocks[0].linear1.weight.detach().numpy()[3, 5] += 0.5


def replaced_data(network: ScoreNetwork) -> None:
    network.time_embedding[0].weight.data = network.time_embedding[0].weight.data * 2


def negated(network: ScoreNetwork) -> None:
    network.up_linears[1].weight.data.neg_()


def rows_in_another_order(network: ScoreNetwork) -> None:
    weight = network.down_linears[0].weight.data
    weight.copy_(weight.flip(0).clone())


def columns_in_another_order(network: ScoreNetwork) -> None:
    weight = network.final_block.skip.weight.data
    weight.copy_(weight.roll(2, 1).clone())


def one_bit(network: ScoreNetwork) -> None:
    network.output.weight.data.view(torch.int32)[-1, -1] ^= 1


CHANGES = [
    changed_through_data,
    changed_by_an_array_on_the_same_memory,
    replaced_data,
    negated,
    rows_in_another_order,
    columns_in_another_order,
    one_bit,
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("inference", [False, True], ids=["plain", "inference mode"])
@pytest.mark.parametrize("change", CHANGES)
def test_changes_without_a_version_counter_are_noticed(change, inference: bool, dtype: torch.dtype):
    with torch.inference_mode(inference):
        network, twin = random_network(), random_network()
        engine = Engine(dtype)
        before = run(engine, network, 4)
        assert torch.equal(run(engine, network, 4), before) and engine.builds["weights"] == 1
        change(network)
        change(twin)
        after = run(engine, network, 4)
        assert engine.builds["weights"] == 2
        assert torch.equal(after, run(Engine(dtype), twin, 4))
        if change is not one_bit:
            assert not torch.equal(after, before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("change", CHANGES)
def test_the_comparison_of_a_gpu_notices_the_same(change, dtype: torch.dtype, monkeypatch):
    monkeypatch.setattr(weights_copy, "_on_cpu", lambda tensors: False)
    for odd in (False, True):  # 8 bytes at a time, and a number of bytes that allows no more than one
        network = random_network()
        if odd:
            network.output_norm.register_parameter("unused", torch.nn.Parameter(torch.zeros(3, dtype=torch.float16)))
        weights = WeightsCopy(network, lambda own: FusedScoreNetwork(own, dtype))
        assert weights.comparison(network)()
        change(network)
        assert not weights.comparison(network)()


def test_weights_of_other_kinds_are_noticed():
    network = random_network()
    engine = Engine(torch.float32)
    run(engine, network, 4)
    network.input.weight.data = network.input.weight.data.t().contiguous().t()  # the same numbers
    run(engine, network, 4)
    assert engine.builds["weights"] == 1
    for number, dtype in enumerate((torch.bfloat16, torch.float64, torch.float16), 2):
        network.to(dtype)
        assert torch.equal(run(engine, network, 4), run(Engine(torch.float32), network, 4))
        assert engine.builds["weights"] == number


def test_the_engine_keeps_its_own_copy_of_what_it_multiplies():
    network = random_network()
    weights = WeightsCopy(network, lambda own: FusedScoreNetwork(own, torch.float32))
    before = weights.fused.weights.input.clone()
    assert weights.comparison(network)()
    network.input.weight.data.zero_()
    assert torch.equal(weights.fused.weights.input, before) and not weights.comparison(network)()


def test_bits_are_compared_and_not_numbers():
    same = ops.native.same_bits
    zero, nan = torch.zeros(5), torch.full((5,), torch.nan)
    assert same([nan, zero], [nan.clone(), zero.clone()]) and same([], [])
    assert not same([zero], [-zero])
    assert same([torch.arange(6).view(2, 3).t()], [torch.arange(6).view(2, 3).t().contiguous()])
    for other in (zero.double(), zero[:4], zero.to("meta")):
        with pytest.raises(ValueError, match="same shape and dtype"):
            same([zero], [other])


def test_a_time_table_too_large_to_hold_is_made_step_by_step():
    network = random_network(24, 2)
    whole, stepwise = Engine(torch.float32), Engine(torch.float32, largest_table=0)
    for solver in ("euler-maruyama", "repaint"):
        torch.testing.assert_close(run(stepwise, network, 6, solver), run(whole, network, 6, solver))


def test_the_time_table_holds_what_the_blocks_add():
    network = random_network()
    missing, times = torch.tensor([[0.0, 1, 1, 1], [1, 0, 0, 1]]), torch.tensor([1.0, 0.6, 0.1])
    weights = fuse_weights(network, torch.float32).time
    table = TimeTable(weights, missing, torch.tensor([1, 0]), times, network.width, 2**20)
    c = network.time_embedding(missing[1] * times[2])
    block = network.up_blocks[0]
    expected = block.time(torch.nn.functional.silu(c)) + block.linear1.bias
    torch.testing.assert_close(table.rows[1, 2, 4], expected)


class Doubled(torch.nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


class Halved(ScoreNetwork):
    def forward(self, x: Tensor, tau: Tensor) -> Tensor:
        return super().forward(x, tau) / 2


def other_layer(network: ScoreNetwork) -> None:
    layer = Doubled(network.width, network.width)
    layer.load_state_dict(network.down_linears[0].state_dict())
    network.down_linears[0] = layer


def hook(network: ScoreNetwork) -> None:
    network.mid_blocks[1].register_forward_hook(lambda module, given, result: result * 2)


def hook_before(network: ScoreNetwork) -> None:
    network.register_forward_pre_hook(lambda module, given: (given[0] / 2, given[1]))


def own_forward(network: ScoreNetwork) -> None:
    whole = network.forward
    network.forward = lambda x, tau: whole(x, tau) / 2


def subclass(network: ScoreNetwork) -> None:
    network.__class__ = Halved


def parametrization(network: ScoreNetwork) -> None:
    torch.nn.utils.parametrizations.weight_norm(network.up_linears[0])
    with torch.no_grad():
        network.up_linears[0].parametrizations.weight.original0.mul_(2)


@pytest.mark.parametrize("change", [other_layer, hook, hook_before, own_forward, subclass, parametrization])
def test_a_network_that_is_more_than_its_weights_is_asked_itself(change):
    network = random_network()
    latents, known = random_inputs(5, 4, 6)
    options = {"steps": 4, "x0_clip": 4.0, "solver": "sde-dpmpp-2m"}
    before, _ = both(network, latents, known, **options)
    change(network)
    fused, eager = both(network, latents, known, **options)
    torch.testing.assert_close(fused, eager, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(fused, before, rtol=1e-2)


def raised(module: torch.nn.Module, given: tuple, result: Tensor) -> Tensor | None:
    return result * 1.5 if isinstance(module, torch.nn.GroupNorm) else None


def halved(module: torch.nn.Module, given: tuple) -> tuple | None:
    return (given[0] / 2, *given[1:]) if isinstance(module, torch.nn.Linear) else None


@pytest.mark.parametrize(
    ("register", "hook"),
    [
        (torch.nn.modules.module.register_module_forward_hook, raised),
        (torch.nn.modules.module.register_module_forward_pre_hook, halved),
    ],
    ids=["after", "before"],
)
def test_hooks_of_all_modules_are_asked(register, hook):
    network = random_network()
    inputs = random_inputs(5, 4, 6)
    options = {"steps": 4, "x0_clip": 4.0, "solver": "sde-dpmpp-2m"}
    before, _ = both(network, *inputs, **options)
    with register(hook):
        fused, eager = both(network, *inputs, **options)
    torch.testing.assert_close(fused, eager, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(fused, before, rtol=1e-2)
    assert torch.equal(both(network, *inputs, **options)[0], before)


def test_another_epsilon_or_other_groups_of_a_norm_are_noticed():
    network = random_network()
    inputs = random_inputs(5, 4, 6)
    before, _ = both(network, *inputs, steps=3)
    for name, value in (("eps", 0.5), ("num_groups", 1)):
        for norm in (network.mid_blocks[0].norm1, network.output_norm):
            setattr(norm, name, value)
        fused, eager = both(network, *inputs, steps=3)
        torch.testing.assert_close(fused, eager, rtol=1e-4, atol=1e-4)
        assert not torch.allclose(fused, before, rtol=1e-3)
        before = fused


def test_an_engine_lives_as_long_as_its_network():
    network = random_network()
    engine = engine_of(network, torch.float32, CPU)
    assert engine_of(network, torch.float32, CPU) is engine
    assert engine_of(network, torch.bfloat16, CPU) is not engine
    gone = weakref.ref(engine)
    del engine, network
    gc.collect()
    assert gone() is None


def test_the_callers_randomness_is_left_alone():
    network = random_network()
    before = torch.random.get_rng_state()
    run(Engine(torch.float32), network, 3)
    assert torch.equal(torch.random.get_rng_state(), before)
