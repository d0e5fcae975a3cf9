"""Memory that one trajectory at a time works in, graphs that point to it, and how concurrent ones come by theirs.

A CUDA graph holds a whole trajectory: it is launched once, and nothing in it allocates or waits.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol, TypeVar

import torch
from torch import Tensor

SPARE = 4
"""Workspaces that are kept although there never were as many trajectories at once: for callers of several streams."""

KEPT = 4
"""Graphs kept at a time: a full batch and a last, smaller one, with room for another solver."""

# Of the whole process, as torch asks: one capture at a time.
_CAPTURE = threading.Lock()


def capture(
    work: Callable[[], object], stream: torch.cuda.Stream, warm_up: Callable[[], object] | None = None
) -> torch.cuda.CUDAGraph:
    """A CUDA graph of what ``work`` launches on the current device.

    Args:
        work: Launches without waiting, into memory that outlives the graph.
        stream: What it is captured on, a stream of the current device.
        warm_up: Runs first, by default ``work`` itself: libraries initialise and allocate their workspaces at the first
            call, which no graph may hold.
    """
    with _CAPTURE:
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            (warm_up or work)()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        # Other threads may wait for events and copy meanwhile: the strict mode would end the capture for it.
        with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
            work()
    return graph


class Capturable(Protocol):
    """A trajectory in progress that a graph can hold."""

    x: Tensor

    def key(self) -> tuple[object, ...]:
        """What must be the same for two of them to be one graph with other inputs."""

    def inputs(self) -> Sequence[Tensor]:
        """What differs from one run of a graph to the next."""

    def copy(self) -> Capturable:
        """The same in memory of its own."""


State = TypeVar("State", bound=Capturable)


class GraphCache:
    """Captured trajectories by everything that is fixed in them: shapes, the pattern of evaluations and the clamp."""

    def __init__(self) -> None:
        self._graphs: OrderedDict[tuple[object, ...], tuple[torch.cuda.CUDAGraph, Capturable]] = OrderedDict()
        self._stream: torch.cuda.Stream | None = None

    def clear(self) -> None:
        """Forget all graphs, because what they point to is about to go."""
        self._graphs.clear()

    def run(self, launch: Callable[[State, tuple[bool, ...]], None], state: State, evaluates: tuple[bool, ...]) -> bool:
        """``launch(state, evaluates)`` as a graph, and whether it had to be captured; the result is in state.x."""
        key = (*state.key(), evaluates)
        with torch.cuda.device(state.x.device):
            captured = key not in self._graphs
            if captured:
                if self._stream is None:
                    # torch's own is one for the process, on the device that happened to capture first.
                    self._stream = torch.cuda.Stream(state.x.device)
                held = state.copy()
                graph = capture(lambda: launch(held, evaluates), self._stream, lambda: launch(held, evaluates[:1]))
                self._graphs[key] = graph, held
            self._graphs.move_to_end(key)
            while len(self._graphs) > KEPT:
                self._graphs.popitem(last=False)
            graph, held = self._graphs[key]
            for ours, theirs in zip(held.inputs(), state.inputs(), strict=True):
                ours.copy_(theirs)
            graph.replay()
            state.x.copy_(held.x)
        return captured


class Buffers(Protocol):
    """Preallocated memory for the evaluations of a network."""

    def first(self, size: int) -> Buffers:
        """The same memory for a smaller batch."""


Memory = TypeVar("Memory", bound=Buffers)


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
        self._weights: object = None
        self._buffers: Buffers | None = None
        self._size = 0

    def reserve(self, size: int, weights: object, allocate: Callable[[int], Memory]) -> tuple[Memory, bool]:
        """Buffers for a batch.

        Args:
            size: Rows of the batch, or whatever buffers are counted in.
            weights: What is multiplied with, whose addresses graphs hold like those of buffers.
            allocate: Makes buffers of a size.

        Returns:
            Buffers of exactly this size, and whether they had to be made.
        """
        grows = self._buffers is None or size > self._size
        if grows or weights is not self._weights:
            self.graphs.clear()
        if grows:
            self._buffers = None  # first, so that old and new ones are never there at once
            self._buffers, self._size = allocate(size), size
        self._weights = weights
        return self._buffers.first(size), grows


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
