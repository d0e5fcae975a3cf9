"""Memory that one trajectory at a time works in, and how concurrent ones come by theirs."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from dimvida.sampling.cuda_graph import GraphCache
from dimvida.sampling.plan import NetworkPlan

SPARE = 4
"""Workspaces that are kept although there never were as many trajectories at once: for callers of several streams."""


@dataclass(frozen=True, slots=True)
class Buffers:
    """Activations of a batch. Those that are multiplied together lie side by side, so nothing is concatenated.

    Attributes:
        joined: [B, 3 W] of each block on a concatenation: its second norm's output, h and the skipped state.
        wide, normed: [B, 2 W] and [B, W], output of norms.
        hidden: [B, W], result of a block's first projection.
        state: [B, W], h where it is not in ``joined``.
        low: [B, V D], the state x in the dtype of the products.
        out: [B, V D], output of the network.
    """

    joined: tuple[Tensor, ...]
    wide: Tensor
    normed: Tensor
    hidden: Tensor
    state: Tensor
    low: Tensor
    out: Tensor

    @classmethod
    def allocate(cls, batch: int, plan: NetworkPlan) -> Buffers:
        """Uninitialised buffers for ``batch`` rows."""
        width, size = plan.input.shape

        def new(columns: int) -> Tensor:
            return plan.input.new_empty(batch, columns)

        joined = tuple(new(3 * width) for _ in (*plan.up, plan.final))
        return cls(joined, new(2 * width), new(width), new(width), new(width), new(size), new(size))

    def first(self, batch: int) -> Buffers:
        """The same memory for a smaller batch."""
        joined, *others = (getattr(self, field.name) for field in dataclasses.fields(self))
        return Buffers(tuple(tensor[:batch] for tensor in joined), *(tensor[:batch] for tensor in others))


class Workspace:
    """Buffers, and the graphs that point to them.

    Args:
        stream: The stream on which it was made and is used, or None where there are none.

    Attributes:
        graphs: Captured trajectories.
    """

    def __init__(self, stream: int | None) -> None:
        self.stream = stream
        self.graphs = GraphCache()
        self._plan: NetworkPlan | None = None
        self._buffers: Buffers | None = None

    def reserve(self, batch: int, plan: NetworkPlan) -> bool:
        """Make it fit for ``batch`` rows of a plan. True where buffers had to be made."""
        grows = self._buffers is None or batch > len(self._buffers.out)
        if grows or plan is not self._plan:
            self.graphs.clear()  # they hold the addresses of buffers and weights
        if grows:
            self._buffers = None  # first, so that old and new ones are never there at once
            self._buffers = Buffers.allocate(batch, plan)
        self._plan = plan
        return grows

    def buffers(self, batch: int) -> Buffers:
        """The first rows of what was reserved."""
        assert self._buffers is not None
        return self._buffers.first(batch)


class WorkspacePool:
    """Lends a workspace to each trajectory in progress.

    A workspace belongs to one stream. What two trajectories queue on one stream follows one another, so the second may
    take the memory of the first at once, before the device has finished; and memory that is given up is only used
    again behind what still reads it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._spare: list[Workspace] = []  # the last one used last
        self._lent, self._most = 0, SPARE

    @contextmanager
    def workspace(self, device: torch.device) -> Iterator[Workspace]:
        """A workspace that nobody else has. One that failed in the middle is not used again."""
        stream = torch.cuda.current_stream(device).cuda_stream if device.type == "cuda" else None
        with self._lock:
            mine = [workspace for workspace in self._spare if workspace.stream == stream]
            if mine:
                self._spare.remove(mine[-1])
            self._lent += 1
            self._most = max(self._most, self._lent)
        workspace = mine[-1] if mine else Workspace(stream)
        try:
            yield workspace
        except BaseException:
            with self._lock:
                self._lent -= 1
            raise
        with self._lock:
            self._lent -= 1
            self._spare.append(workspace)
            del self._spare[: -self._most]
