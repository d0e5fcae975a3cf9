"""What makes an engine copy weights again, and what keeps it from computing by a copy at all."""

from __future__ import annotations

from unittest.mock import MagicMock

import pytest
import torch
from torch import Tensor

from dimvida import ops
from dimvida.models import ScoreNetwork
from dimvida.sampling import weights_copy
from dimvida.sampling.engine import Engine
from dimvida.sampling.fused_mlp import FusedScoreNetwork
from dimvida.sampling.weights_copy import WeightsCopy

from .conftest import Doubled, engine_run, fused_and_eager, own_forward, random_inputs, random_network, subclass

CPU = torch.device("cpu")


def test_new_weights_are_noticed():
    network, other = random_network(), random_network(seed=1)
    engine = Engine(torch.float32)
    before = engine_run(engine, network, 4)
    network.load_state_dict(other.state_dict())
    loaded = engine_run(engine, network, 4)
    assert torch.equal(loaded, engine_run(Engine(torch.float32), other, 4)) and not torch.equal(loaded, before)
    with torch.no_grad():
        network.mid_blocks[0].norm1.bias.add_(0.5)
    assert not torch.equal(engine_run(engine, network, 4), loaded)
    network.output.weight = torch.nn.Parameter(torch.zeros_like(network.output.weight))
    engine_run(engine, network, 4)
    assert engine.builds["weights"] == 4


def test_an_optimiser_step_is_noticed():
    network = random_network()
    engine = Engine(torch.float32)
    before = engine_run(engine, network, 4)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01, fused=True)
    network(torch.randn(4, 4, 6), torch.rand(4, 4)).square().sum().backward()
    optimizer.step()
    assert not torch.equal(engine_run(engine, network, 4), before)


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
        before = engine_run(engine, network, 4)
        assert torch.equal(engine_run(engine, network, 4), before) and engine.builds["weights"] == 1
        change(network)
        change(twin)
        after = engine_run(engine, network, 4)
        assert engine.builds["weights"] == 2
        assert torch.equal(after, engine_run(Engine(dtype), twin, 4))
        if change is not one_bit:
            assert not torch.equal(after, before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("change", CHANGES)
def test_the_comparison_of_a_gpu_notices_the_same(change, dtype: torch.dtype, monkeypatch):
    event = MagicMock()
    monkeypatch.setattr(weights_copy, "_on_cpu", lambda tensors: False)
    monkeypatch.setattr(torch.cuda, "Event", event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: "the caller's")
    for odd in (False, True):  # 8 bytes at a time, and a number of bytes that allows no more than one
        network = random_network()
        if odd:
            network.output_norm.register_parameter("unused", torch.nn.Parameter(torch.zeros(3, dtype=torch.float16)))
        weights = WeightsCopy(network, lambda own: FusedScoreNetwork(own, dtype))
        assert weights.comparison(network)()
        change(network)
        event.reset_mock()
        unchanged = weights.comparison(network)
        event.assert_called_once_with(blocking=True)  # leaves the core of whoever waits to others
        event.return_value.record.assert_called_once_with("the caller's")
        event.return_value.synchronize.assert_not_called()
        assert not unchanged()
        event.return_value.synchronize.assert_called_once_with()


def test_weights_of_other_kinds_are_noticed():
    network = random_network()
    engine = Engine(torch.float32)
    engine_run(engine, network, 4)
    network.input.weight.data = network.input.weight.data.t().contiguous().t()  # the same numbers
    engine_run(engine, network, 4)
    assert engine.builds["weights"] == 1
    for number, dtype in enumerate((torch.bfloat16, torch.float64, torch.float16), 2):
        network.to(dtype)
        assert torch.equal(engine_run(engine, network, 4), engine_run(Engine(torch.float32), network, 4))
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


def other_layer(network: ScoreNetwork) -> None:
    layer = Doubled(network.width, network.width)
    layer.load_state_dict(network.down_linears[0].state_dict())
    network.down_linears[0] = layer


def hook(network: ScoreNetwork) -> None:
    network.mid_blocks[1].register_forward_hook(lambda module, given, result: result * 2)


def hook_before(network: ScoreNetwork) -> None:
    network.register_forward_pre_hook(lambda module, given: (given[0] / 2, given[1]))


def parametrization(network: ScoreNetwork) -> None:
    torch.nn.utils.parametrizations.weight_norm(network.up_linears[0])
    with torch.no_grad():
        network.up_linears[0].parametrizations.weight.original0.mul_(2)


@pytest.mark.parametrize("change", [other_layer, hook, hook_before, own_forward, subclass, parametrization])
def test_a_network_that_is_more_than_its_weights_is_asked_itself(change):
    network = random_network()
    latents, known = random_inputs(5, 4, 6)
    options = {"steps": 4, "x0_clip": 4.0, "solver": "sde-dpmpp-2m"}
    before, _ = fused_and_eager(network, latents, known, **options)
    change(network)
    fused, eager = fused_and_eager(network, latents, known, **options)
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
    before, _ = fused_and_eager(network, *inputs, **options)
    with register(hook):
        fused, eager = fused_and_eager(network, *inputs, **options)
    torch.testing.assert_close(fused, eager, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(fused, before, rtol=1e-2)
    assert torch.equal(fused_and_eager(network, *inputs, **options)[0], before)


def test_another_epsilon_or_other_groups_of_a_norm_are_noticed():
    network = random_network()
    inputs = random_inputs(5, 4, 6)
    before, _ = fused_and_eager(network, *inputs, steps=3)
    for name, value in (("eps", 0.5), ("num_groups", 1)):
        for norm in (network.mid_blocks[0].norm1, network.output_norm):
            setattr(norm, name, value)
        fused, eager = fused_and_eager(network, *inputs, steps=3)
        torch.testing.assert_close(fused, eager, rtol=1e-4, atol=1e-4)
        assert not torch.allclose(fused, before, rtol=1e-3)
        before = fused
