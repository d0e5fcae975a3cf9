"""What a GPU would be asked, with a stand-in for torch.cuda: how often a graph is captured, how, and what it is given.

tests/gpu has the real thing.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

import pytest
import torch
from helpers.networks import tiny_transformer
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from dimvida import ops
from dimvida.models import ScoreNetwork
from dimvida.sampling import engine as engine_module
from dimvida.sampling import sample
from dimvida.sampling import workspace as workspace_module
from dimvida.sampling.engine import EngineState, engine_of
from dimvida.sampling.workspace import KEPT

from .conftest import random_inputs, random_network

CPU, CLOSE = torch.device("cpu"), {"rtol": 1e-5, "atol": 1e-5}
WAITING = {torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default}

pytestmark = pytest.mark.usefixtures("one_thread")


class Graph:
    """Stands in for a CUDA graph: operations that were launched, to run in the memory that they were given."""

    def __init__(self) -> None:
        self.calls: list[tuple[Callable[..., object], tuple[object, ...], dict[str, object], object]] = []

    def replay(self) -> None:
        for operation, arguments, named, results in self.calls:
            again = tree_leaves(operation(*arguments, **named))
            for ours, theirs in zip(tree_leaves(results), again, strict=True):
                if isinstance(ours, Tensor) and ours.data_ptr() != theirs.data_ptr():
                    ours.copy_(theirs)


class Recording(TorchDispatchMode):
    """What is launched becomes a graph's. As on a GPU nothing runs yet, and the memory of results is set aside."""

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self._graph = graph

    def __torch_dispatch__(self, operation, types, arguments=(), named=None):
        named = named or {}
        assert operation not in WAITING, f"{operation} waits for the device"
        result = self._result(operation, arguments, named)
        self._graph.calls.append((operation, arguments, named, result))
        return result

    def _result(self, operation, arguments, named) -> object:
        if operation.is_view:
            return operation(*arguments, **named)
        if operation._schema.is_mutable:
            return named.get("out", arguments[0]) if operation._schema.returns else None
        arguments, named = tree_map_only(Tensor, lambda tensor: tensor.to("meta"), (arguments, named))
        return tree_map_only(Tensor, set_aside, operation(*arguments, **named))


def set_aside(shape: Tensor) -> Tensor:
    """Memory in which nothing is yet."""
    return torch.full_like(shape, torch.nan if shape.is_floating_point() else 0, device=CPU)


class Stream:
    """Stands in for a stream; it says what it is asked."""

    def __init__(self, device: torch.device, log: list[object], name: str = "own") -> None:
        self.device, self._log, self.name = device, log, name

    def wait_stream(self, other: Stream) -> None:
        self._log.append(f"{self.name} waits for {other.name}")


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The engine takes the CPU for a device with graphs. Lists what torch.cuda is asked, in order."""
    log: list[object] = []

    @contextmanager
    def on(stream: Stream) -> Iterator[None]:
        log.append(f"on {stream.name}")
        yield
        log.append("off")

    @contextmanager
    def graph(graph: Graph, *, stream: Stream, capture_error_mode: str) -> Iterator[None]:
        assert workspace_module._CAPTURE.locked()  # one at a time in the process
        log.append((stream.name, capture_error_mode))
        with Recording(graph):
            yield
        log.append("captured")

    monkeypatch.setattr(engine_module, "has_graphs", lambda device: True)
    monkeypatch.setattr(torch.cuda, "device", lambda device: nullcontext())
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: log.append(device) or Stream(device, log))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: Stream(CPU, log, "caller's"))
    monkeypatch.setattr(torch.cuda, "stream", on)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "graph", graph)
    return log


@pytest.fixture
def graphs(log: list[object], monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The same. Lists the shape of every capture."""
    captured = []

    def copy(state: EngineState) -> EngineState:
        captured.append(tuple(state.x.shape))
        held = real_copy(state)
        held.x.fill_(torch.nan)  # nothing of the first batch may be needed
        return held

    real_copy = EngineState.copy
    monkeypatch.setattr(EngineState, "copy", copy)
    return captured


def draw(network: ScoreNetwork, rows: int, views: int = 4, seed: int = 0, steps: int = 4, **options) -> Tensor:
    latents, known = random_inputs(rows, views, 6, seed)
    chosen = {"backend": "fused", "dtype": torch.float32, "x0_clip": 3.0, "solver": "sde-dpmpp-2m", **options}
    return sample(network, latents, known, steps=steps, seed=seed, sample_ids=torch.arange(rows) + seed, **chosen)


@pytest.mark.parametrize("views", [2, 4, 9])
def test_a_run_captures_once(graphs, views: int):
    network, plain = random_network(views), random_network(views)
    for seed, rows in enumerate((64, 64, 61, 63, 64, 62)):
        result = draw(network, rows, views, seed)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(engine_module, "has_graphs", lambda device: False)
            torch.testing.assert_close(result, draw(plain, rows, views, seed), **CLOSE)
    assert graphs == [(64, views, 6)]


@pytest.mark.parametrize("largest", [2**28, 0], ids=["whole table", "a row at a time"])
def test_a_transformer_is_captured_once_for_each_number_of_views(graphs, largest: int):
    network, plain = tiny_transformer(4, (2, 4, 4)), tiny_transformer(4, (2, 4, 4))
    engine_of(network, torch.float32, CPU).largest_table = largest
    options = {"backend": "fused", "dtype": torch.float32, "x0_clip": 3.0, "solver": "sde-dpmpp-2m", "steps": 4}
    for seed, (rows, views) in enumerate(((40, 4), (37, 4), (39, 2), (40, 4), (40, 2))):
        latents, known = random_inputs(rows, views, 32, seed)
        chosen = torch.randint(4, (rows, views), generator=torch.Generator().manual_seed(seed))  # others in each row
        result = sample(network, latents, known, seed=seed, views=chosen, **options)
        expected = sample(
            plain, latents, known, seed=seed, views=chosen, **{**options, "backend": "eager", "dtype": None}
        )
        torch.testing.assert_close(result, expected, rtol=1e-4, atol=1e-4)
    assert graphs == [(40, 4, 32), (40, 2, 32)]


def test_views_that_are_computed_once_are_part_of_a_graph(graphs):
    network, plain = (tiny_transformer(4, (2, 4, 4), known_attend="known") for _ in range(2))
    options = {"x0_clip": 3.0, "solver": "sde-dpmpp-2m", "steps": 4}
    for seed, (rows, count) in enumerate(((40, 1), (37, 1), (40, 3), (39, 3), (38, 1), (40, 0))):
        latents, _ = random_inputs(rows, 4, 32, seed)
        scores = torch.rand(rows, 4, generator=torch.Generator().manual_seed(seed))
        known = scores.argsort(1) < count  # others in each row, as many
        result = sample(network, latents, known, seed=seed, backend="fused", dtype=torch.float32, **options)
        expected = sample(plain, latents, known, seed=seed, backend="eager", **options)
        torch.testing.assert_close(result, expected, rtol=1e-4, atol=1e-4)
    assert len(graphs) == 3  # of one, of three and of no known view


def test_other_numbers_of_masks_are_the_same_graph(graphs):
    network = random_network()
    latents, _ = random_inputs(32, 4, 6)
    options = {"backend": "fused", "dtype": torch.float32, "steps": 3, "x0_clip": 3.0}
    for count in (1, 2, 5, 16):
        known = torch.tensor([[bool(number >> view & 1) for view in range(4)] for number in range(count)])
        known = known.repeat(32, 1)[:32]
        expected = sample(random_network(), latents, known, **{**options, "backend": "eager", "dtype": None})
        torch.testing.assert_close(sample(network, latents, known, **options), expected, rtol=1e-4, atol=1e-4)
    assert len(graphs) == 1


def test_results_do_not_depend_on_what_came_before(graphs):
    first, second = random_network(), random_network()
    draw(first, 64)
    assert torch.equal(draw(first, 37), draw(second, 37))


@pytest.mark.parametrize("solver", ["euler-maruyama", "repaint", "repaint-mean", "ddim"])
def test_a_table_too_large_to_hold_is_padded_as_well(graphs, solver: str, monkeypatch):
    network, plain = random_network(9), random_network(9)
    engine_of(network, torch.float32, CPU).largest_table = 0
    for seed in range(3):
        result = draw(network, 33, 9, seed, solver=solver)
        with monkeypatch.context() as patch:
            patch.setattr(engine_module, "has_graphs", lambda device: False)
            torch.testing.assert_close(result, draw(plain, 33, 9, seed, solver=solver), **CLOSE)


def test_only_what_is_fixed_in_a_graph_makes_another(graphs):
    network = random_network()
    draw(network, 8)
    draw(network, 8, seed=1)
    draw(network, 8, solver="ddim")
    assert len(graphs) == 1
    draw(network, 8, x0_clip=2.0)
    draw(network, 8, steps=5)
    draw(network, 7)
    draw(network, 8)
    assert len(graphs) == 4
    draw(network, 9)  # larger buffers: the old addresses are gone
    draw(network, 8)
    assert len(graphs) == 6
    network.input.weight.data.mul_(1.5)
    draw(network, 8)
    assert len(graphs) == 7 and engine_of(network, torch.float32, CPU).builds["graph"] == 7


def test_the_oldest_graphs_go(graphs):
    network = random_network()
    for steps in range(1, KEPT + 2):
        draw(network, 8, steps=steps)
    draw(network, 8, steps=KEPT + 1)
    assert len(graphs) == KEPT + 1
    draw(network, 8, steps=1)
    assert len(graphs) == KEPT + 2


def test_threads_have_graphs_of_their_own(graphs):
    network = random_network()
    expected = {seed: draw(random_network(), 8, seed=seed) for seed in range(4)}
    graphs.clear()
    got = {}
    threads = [
        threading.Thread(target=lambda seed=seed: got.update({seed: draw(network, 8, seed=seed)})) for seed in expected
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(got[seed], expected[seed]) for seed in expected)
    assert len(graphs) == engine_of(network, torch.float32, CPU).builds["graph"]


def test_how_a_trajectory_becomes_a_graph(log, monkeypatch):
    step, replay, take = ops.masked_step_, Graph.replay, EngineState.take
    monkeypatch.setattr(ops, "masked_step_", lambda *args, **named: log.append("step") or step(*args, **named))
    monkeypatch.setattr(Graph, "replay", lambda self: log.append("replay") or replay(self))
    monkeypatch.setattr(EngineState, "take", lambda self, other: log.append("inputs") or take(self, other))
    network = random_network()
    first = draw(network, 8, steps=3)
    assert log == [
        CPU,  # a stream of the state's device
        "own waits for caller's",
        "on own",
        "step",  # the first alone, so that libraries allocate what they need before
        "off",
        "caller's waits for own",
        ("own", "thread_local"),
        *["step"] * 3,
        "captured",
        "inputs",
        "replay",
    ]
    log.clear()
    assert torch.equal(draw(network, 8, steps=3), first)
    assert log == ["inputs", "replay"]


def test_a_warm_up_that_fails_is_waited_for(log, monkeypatch):
    monkeypatch.setattr(ops, "masked_step_", None)
    with pytest.raises(TypeError, match="not callable"):
        draw(random_network(), 8)
    assert log == [CPU, "own waits for caller's", "on own", "caller's waits for own"]


def test_what_is_captured_is_launched_by_the_loop_itself(log, monkeypatch):
    """No call comes back to it through what captures."""
    step, ways = ops.masked_step_, []

    def noted(*arguments: Tensor, **named: object) -> None:
        frame, way = sys._getframe(1), []
        while frame is not None:
            name = frame.f_globals.get("__name__", "")
            way += [name] if name.startswith("dimvida.") and way[-1:] != [name] else []
            frame = frame.f_back
        ways.append(way)
        step(*arguments, **named)

    monkeypatch.setattr(ops, "masked_step_", noted)
    draw(random_network(), 8, steps=3)
    assert ways == [["dimvida.sampling.loop"]] * 4  # a row to warm up, and three
