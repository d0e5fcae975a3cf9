"""The stages of a run, side by side, and the time that each of them takes.

    reader thread        batches of known views               }  at most 3 are read or being so
    calling thread       encode, sample, decode
    pool of threads      image files and metadata             }  at most 3 are packed and written, or being so
    writer thread        shards                               }
    finishing thread     shards forced to disk                   at most 3

Seven batches at most are anywhere on the way, the calling thread's among them, so memory does not grow with the data
set. Reading processes hold ``workers.PREFETCH`` chunks of ``read.CHUNK_ROWS`` rows each besides.
"""

from __future__ import annotations

import gc
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from types import TracebackType
from typing import Any, TypeVar

import torch

from dimvida import interruption
from dimvida.errors import thread_errors

AHEAD = 3
"""Batches that may be on each side of the calling thread, and shards that may be forced to disk or wait for that."""

PIPELINE_STAGES = ("read", "encode", "sample", "decode", "pack", "write")
_POLL = 0.1  # seconds after which the calling thread, where it waits, looks at signals and at the other stages
T = TypeVar("T")


class PipelineStopped(Exception):
    """Another stage has failed, or the run was interrupted."""


class Pipeline:
    """Threads that read, pack, write and finish beside the calling one, within ``interruption.held``.

    A context manager. Left in order, it waits until everything is written. Whatever fails in a stage is raised in the
    calling thread; left by that or by another exception, it drops what waits, and ends when no thread is left.

    Args:
        times: Where the time of ``read`` is counted.
        written: Called in the calling thread with the result of each ``write`` and ``finish``, in their order.
        idle: Called in the calling thread between batches and while it waits.
    """

    def __init__(self, times: StageTimes, written: Callable[[Any], object], idle: Callable[[], object]) -> None:
        self._times, self._written, self._idle = times, written, idle
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="dimvida-read")
        self._packers = ThreadPoolExecutor(len(os.sched_getaffinity(0)), thread_name_prefix="dimvida-pack")
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="dimvida-write")
        self._finisher = ThreadPoolExecutor(1, thread_name_prefix="dimvida-finish")
        self._writing: deque[Future[Any]] = deque()
        self._finishing: deque[Future[Any]] = deque()
        self._untold: deque[Future[Any]] = deque()  # both, in the order in which they were asked for
        self._stopped = threading.Event()
        self._failure: BaseException | None = None  # why something could not be written, after which nothing must be

    def __enter__(self) -> Pipeline:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self._wait_for_room(self._writing, 0)
                self._wait_for_room(self._finishing, 0)
        finally:
            self._stopped.set()
            for threads in (self._reader, self._packers, self._writer, self._finisher):
                threads.shutdown(cancel_futures=True)

    def check_running(self) -> None:
        """For a reader that waits for something: raise PipelineStopped once nobody wants it any more."""
        if self._stopped.is_set():
            raise PipelineStopped

    def read_ahead(self, items: Iterator[T]) -> Iterator[T]:
        """The same items, of which the next ones are taken in the reader thread meanwhile."""

        def take() -> T | None:
            self.check_running()
            with self._times.host("read"):
                return next(items, None)

        reading = deque(_submit(self._reader, take) for _ in range(AHEAD))
        while (item := self._result(reading.popleft())) is not None:
            reading.append(_submit(self._reader, take))
            yield item

    def pack(self, work: Callable[..., T], *arguments: Any) -> Future[T]:
        """Do some work in the pool."""
        return _submit(self._packers, work, *arguments)

    def write(self, work: Callable[..., T], *arguments: Any) -> Future[T]:
        """Do some work in the writer thread after what it was given before; wait if that is too much."""
        job = _submit(self._writer, self._write, work, *arguments)
        self._follow(job, self._writing)
        return job

    def finish(self, written: Future[Any], work: Callable[..., object], *arguments: Any) -> None:
        """Do some work once ``written`` is, while the writer thread goes on; wait if that is too much."""

        def finished() -> object:
            written.result()
            return work(*arguments)

        self._follow(_submit(self._finisher, self._write, finished), self._finishing)

    def _write(self, work: Callable[..., T], *arguments: Any) -> T:
        if self._failure is not None:
            raise self._failure
        try:
            return work(*arguments)
        except BaseException as error:
            self._failure = error
            raise

    def _result(self, job: Future[T]) -> T:
        while not job.done():
            wait([job], _POLL)
            self._look()
        self._look()
        return job.result()

    def _follow(self, job: Future[Any], among: deque[Future[Any]]) -> None:
        among.append(job)
        self._untold.append(job)
        self._wait_for_room(among, AHEAD)

    def _wait_for_room(self, jobs: deque[Future[Any]], most: int) -> None:
        while len(jobs) > most:
            wait([jobs[0]], _POLL)
            self._look()

    def _look(self) -> None:
        """What the calling thread does from time to time: look at signals, and at what is written or failed to be."""
        interruption.check()
        self._idle()
        for jobs in (self._writing, self._finishing):
            while jobs and jobs[0].done():
                jobs.popleft()
        while self._untold and self._untold[0].done():
            self._written(self._untold.popleft().result())


@contextmanager
def spared_from_collection(device: torch.device) -> Iterator[None]:
    """What there is already, which is all of torch, is not looked through for garbage meanwhile.

    Making some ten thousand objects sets the collector off, and it would hold all threads up for 0.2 seconds.

    Args:
        device: Where the run computes. Garbage of before is freed first where it may hold memory of a GPU.
    """
    if gc.get_freeze_count():  # somebody has done so, and will undo it
        yield
        return
    if device.type == "cuda":
        gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _submit(threads: ThreadPoolExecutor, work: Callable[..., T], *arguments: Any) -> Future[T]:
    with thread_errors():
        return threads.submit(work, *arguments)


class StageTimes:
    """Seconds that each stage was at work. Stages overlap, so together they may exceed the time on the wall.

    On CUDA, ``encode``, ``sample`` and ``decode`` are times on the device, added up when asked for.
    """

    def __init__(self, device: torch.device) -> None:
        self._seconds = dict.fromkeys(PIPELINE_STAGES, 0.0)
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
        start, end = (torch.cuda.Event(enable_timing=True, blocking=True) for _ in range(2))
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
