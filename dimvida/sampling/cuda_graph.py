"""One CUDA graph over a whole trajectory: it is launched once, and nothing in it allocates or waits."""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from dimvida.sampling.engine import Engine, State

KEPT = 4
"""Graphs kept at a time: a full batch and a last, smaller one, with room for another solver."""


class GraphCache:
    """Captured trajectories by everything that is fixed in them: shapes, the pattern of evaluations and the clamp."""

    def __init__(self) -> None:
        self._graphs: OrderedDict[tuple[object, ...], tuple[torch.cuda.CUDAGraph, State]] = OrderedDict()

    def clear(self) -> None:
        """Forget all graphs, because what they point to is about to go."""
        self._graphs.clear()

    def run(self, engine: Engine, state: State, evaluates: tuple[bool, ...]) -> None:
        """``engine.steps(state, evaluates)`` as a graph; state.x, float32 [B, V, D], holds the result."""
        key = (tuple(state.x.shape), evaluates, tuple(state.time.rows.shape), state.trajectory.x0_clip)
        with torch.cuda.device(state.x.device):
            if key not in self._graphs:
                self._graphs[key] = _capture(engine, state, evaluates)
                engine.builds["graph"] += 1
            self._graphs.move_to_end(key)
            while len(self._graphs) > KEPT:
                self._graphs.popitem(last=False)
            graph, held = self._graphs[key]
            for ours, theirs in zip(_inputs(held), _inputs(state), strict=True):
                ours.copy_(theirs)
            graph.replay()
            state.x.copy_(held.x)


def _inputs(state: State) -> list[Tensor]:
    """What differs from one run of a graph to the next."""
    trajectory, time = state.trajectory, state.time
    changing = [state.x, state.mask, state.index, state.evaluation, time.rows, time.missing, time.times]
    return [*changing, trajectory.table, trajectory.known, trajectory.sample_ids, trajectory.seed]


def _capture(engine: Engine, state: State, evaluates: tuple[bool, ...]) -> tuple[torch.cuda.CUDAGraph, State]:
    held = _copy(state)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        engine.steps(held, evaluates[:1])  # libraries allocate their workspaces at the first call
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        engine.steps(held, evaluates)
    return graph, held


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
