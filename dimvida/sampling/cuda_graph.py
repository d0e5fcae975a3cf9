"""One CUDA graph over a whole trajectory: it is launched once, and nothing in it allocates or waits."""

from __future__ import annotations

import dataclasses
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from dimvida.sampling.engine import State

    Launch = Callable[["State", tuple[bool, ...]], None]

KEPT = 4
"""Graphs kept at a time: a full batch and a last, smaller one, with room for another solver."""

# Of the whole process, as torch asks: one capture at a time.
_CAPTURE = threading.Lock()


class GraphCache:
    """Captured trajectories by everything that is fixed in them: shapes, the pattern of evaluations and the clamp."""

    def __init__(self) -> None:
        self._graphs: OrderedDict[tuple[object, ...], tuple[torch.cuda.CUDAGraph, State]] = OrderedDict()
        self._stream: torch.cuda.Stream | None = None

    def clear(self) -> None:
        """Forget all graphs, because what they point to is about to go."""
        self._graphs.clear()

    def run(self, launch: Launch, state: State, evaluates: tuple[bool, ...]) -> bool:
        """``launch(state, evaluates)`` as a graph, and whether it had to be captured; the result is in state.x."""
        key = graph_key(state, evaluates)
        with torch.cuda.device(state.x.device):
            captured = key not in self._graphs
            if captured:
                if self._stream is None:
                    # torch's own is one for the process, on the device that happened to capture first.
                    self._stream = torch.cuda.Stream(state.x.device)
                self._graphs[key] = capture(launch, _copy(state), evaluates, self._stream)
            self._graphs.move_to_end(key)
            while len(self._graphs) > KEPT:
                self._graphs.popitem(last=False)
            graph, held = self._graphs[key]
            for ours, theirs in zip(_inputs(held), _inputs(state), strict=True):
                ours.copy_(theirs)
            graph.replay()
            state.x.copy_(held.x)
        return captured


def graph_key(state: State, evaluates: tuple[bool, ...]) -> tuple[object, ...]:
    """What must be the same for two trajectories to be one graph with other inputs."""
    return tuple(state.x.shape), evaluates, tuple(state.time.rows.shape), state.trajectory.x0_clip


def capture(
    launch: Launch, held: State, evaluates: tuple[bool, ...], stream: torch.cuda.Stream
) -> tuple[torch.cuda.CUDAGraph, State]:
    """The graph of ``launch(held, evaluates)``, captured on a stream of held's device, and the memory it works on."""
    with _CAPTURE:
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            launch(held, evaluates[:1])  # libraries initialise and allocate their workspaces at the first call
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        # Other threads may wait for events and copy meanwhile: the strict mode would end the capture for it.
        with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
            launch(held, evaluates)
    return graph, held


def _inputs(state: State) -> list[Tensor]:
    """What differs from one run of a graph to the next."""
    trajectory, time = state.trajectory, state.time
    changing = [state.x, state.mask, state.index, state.evaluation, time.rows, time.missing, time.times]
    return [*changing, trajectory.table, trajectory.known, trajectory.sample_ids, trajectory.seed]


def _copy(state: State) -> State:
    trajectory, time = state.trajectory, state.time
    tensors = ("table", "known", "sample_ids", "seed")
    return dataclasses.replace(
        state,
        x=state.x.clone(),
        x0_prev=state.x0_prev.clone(),
        trajectory=dataclasses.replace(trajectory, **{name: getattr(trajectory, name).clone() for name in tensors}),
        mask=state.mask.clone(),
        time=time.copy(),
        index=state.index.clone(),
        evaluation=state.evaluation.clone(),
    )
