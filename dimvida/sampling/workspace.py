"""Memory that one trajectory at a time works in, graphs that point to it, and how concurrent ones come by theirs.

A CUDA graph holds a whole trajectory: it is launched once, and nothing in it allocates or waits.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

import torch

SPARE = 4
"""Workspaces that are kept although there never were as many trajectories at once: for callers of several streams."""

KEPT = 4
"""Graphs kept at a time: a full batch and a last, smaller one, with room for another solver."""

# Of the whole process, as torch asks: one capture at a time.
_CAPTURE = threading.Lock()


@contextmanager
def capturing(stream: torch.cuda.Stream) -> Iterator[Capture]:
    """Makes graphs on a stream, whose device is the current one meanwhile."""
    with torch.cuda.device(stream.device), _CAPTURE:
        yield Capture(stream)


class Capture:
    """Makes a CUDA graph of what is launched: some of it first ``warming_up``, then all of it ``recording``.

    Launches neither wait nor read or write memory that goes before the graph does.

    Args:
        stream: The stream that is captured.
    """

    def __init__(self, stream: torch.cuda.Stream) -> None:
        self._stream = stream

    @contextmanager
    def warming_up(self) -> Iterator[None]:
        """What is launched here runs: libraries initialise and allocate their workspaces at the first call, which no
        graph may hold."""
        self._stream.wait_stream(torch.cuda.current_stream())
        try:
            with torch.cuda.stream(self._stream):
                yield
        finally:  # also where memory ran out: what was launched before still works in what the caller now gives up
            torch.cuda.current_stream().wait_stream(self._stream)

    @contextmanager
    def recording(self) -> Iterator[torch.cuda.CUDAGraph]:
        """What is launched here does not run: it becomes the graph."""
        graph = torch.cuda.CUDAGraph()
        # Other threads may wait for events and copy meanwhile: the strict mode would end the capture for it.
        with torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"):
            yield graph


State = TypeVar("State")
Memory = TypeVar("Memory")


class GraphCache(Generic[State]):
    """Captured trajectories, each with the state that it reads and writes.

    They are told apart by everything that is fixed in them: shapes, the pattern of evaluations and the clamp.
    """

    def __init__(self) -> None:
        self._graphs: OrderedDict[tuple[object, ...], tuple[torch.cuda.CUDAGraph, State]] = OrderedDict()
        self._stream: torch.cuda.Stream | None = None

    def clear(self) -> None:
        """Forget all graphs, because what they point to is about to go."""
        self._graphs.clear()

    def __contains__(self, key: tuple[object, ...]) -> bool:
        return key in self._graphs

    def use(self, key: tuple[object, ...]) -> tuple[torch.cuda.CUDAGraph, State]:
        """One that is kept, and its state; it is then the last one used."""
        self._graphs.move_to_end(key)
        return self._graphs[key]

    def keep(self, key: tuple[object, ...], graph: torch.cuda.CUDAGraph, state: State) -> None:
        """Keep one, and of the others those that were used last."""
        self._graphs[key] = graph, state
        while len(self._graphs) > KEPT:
            self._graphs.popitem(last=False)

    def stream(self, device: torch.device) -> torch.cuda.Stream:
        """What all of them are captured on: torch's own stream for it is one for the process, on the device that
        happened to capture first."""
        if self._stream is None:
            self._stream = torch.cuda.Stream(device)
        return self._stream


class Workspace:
    """Buffers, and the graphs that point to them.

    Args:
        stream: The stream on which it was made and is used, or None where there are none.

    Attributes:
        graphs: Captured trajectories, those that were used last.
    """

    def __init__(self, stream: int | None) -> None:
        self.stream = stream
        self.graphs: GraphCache[Any] = GraphCache()
        self._weights: object = None
        self._buffers: Any = None
        self._size = 0

    def reserve(self, size: int, weights: object, allocate: Callable[[int], Memory]) -> tuple[Memory, bool]:
        """Buffers for a batch.

        Args:
            size: Rows of the batch, or whatever buffers are counted in.
            weights: What is multiplied with, whose addresses graphs hold like those of buffers.
            allocate: Makes buffers of a size.

        Returns:
            Buffers of at least this size, and whether they had to be made.
        """
        grows = self._buffers is None or size > self._size
        if grows or weights is not self._weights:
            self.graphs.clear()
        if grows:
            self._buffers = None  # first, so that old and new ones are never there at once
            self._buffers, self._size = allocate(size), size
        self._weights = weights
        return self._buffers, grows


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
