"""Where the time of a run goes, stage by stage."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch

STAGES = ("read", "encode", "sample", "decode", "pack", "write")


class StageTimes:
    """Seconds that each stage was at work. Stages overlap, so together they may exceed the time on the wall.

    On CUDA, ``encode``, ``sample`` and ``decode`` are times on the device, added up when asked for.
    """

    def __init__(self, device: torch.device) -> None:
        self._seconds = dict.fromkeys(STAGES, 0.0)
        self._device = device
        self._events: list[tuple[str, torch.cuda.Event, torch.cuda.Event]] = []
        self._lock = threading.Lock()

    @contextmanager
    def host(self, stage: str) -> Iterator[None]:
        """Time what this thread does."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.add(stage, time.perf_counter() - start)

    @contextmanager
    def device(self, stage: str) -> Iterator[None]:
        """Time what is queued on the device's current stream."""
        if self._device.type != "cuda":
            with self.host(stage):
                yield
            return
        # Which stream must be said: without, it is one of the current device, which may be another.
        stream = torch.cuda.current_stream(self._device)
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record(stream)
        yield
        end.record(stream)
        self._events.append((stage, start, end))

    def add(self, stage: str, seconds: float) -> None:
        """Count seconds to a stage; from any thread."""
        with self._lock:
            self._seconds[stage] += seconds

    def totals(self) -> dict[str, float]:
        """Seconds of every stage so far."""
        for stage, start, end in self._events:
            end.synchronize()
            self.add(stage, start.elapsed_time(end) / 1e3)
        self._events.clear()
        return dict(self._seconds)
