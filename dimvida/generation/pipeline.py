"""The stages of a run, side by side, with bounded queues between them.

    reader thread        batches of known views               at most 2 wait
    calling thread       encode, sample, decode
    pool of threads      image files and metadata             } at most 2 batches wait
    writer thread        shards

Seven batches at most are anywhere on the way, so memory does not grow with the data set: two read and one in the
reader's hands, one in the model, two encoded or being so, one with the writer. Reading processes hold
``workers.PREFETCH`` chunks of ``loading.CHUNK`` rows each besides.
"""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from dimvida import interruption
from dimvida.errors import DimvidaError
from dimvida.generation.complete import Completed, Completer
from dimvida.generation.formats.base import Sample
from dimvida.generation.loading import ChunkReader, Piece, ReadBatch, pieces, read_batches
from dimvida.generation.pack import Packer
from dimvida.generation.read import GivenBatch
from dimvida.generation.shards import Shard
from dimvida.generation.times import StageTimes
from dimvida.generation.workers import ReadingProcesses
from dimvida.generation.write import WriterStage

WAITING = 2  # batches in each queue
PACK = 32  # rows that a thread of the pool packs at once
_POLL = 0.1  # seconds after which a stage that waits looks whether another one failed
T = TypeVar("T")


class Stopped(Exception):
    """Another stage has failed, or the run was interrupted."""


class Channel:
    """A bounded queue that stops waiting when the run stops."""

    def __init__(self, stop: threading.Event) -> None:
        self._queue: queue.Queue[Any] = queue.Queue(WAITING)
        self._stop = stop

    def put(self, item: Any) -> None:
        """Wait for room. Raises Stopped."""
        while not self._stop.is_set():
            try:
                return self._queue.put(item, timeout=_POLL)
            except queue.Full:
                pass
        raise Stopped

    def get(self, idle: Callable[[], object] = lambda: None) -> Any:
        """Wait for an item, calling ``idle`` from time to time. Raises Stopped."""
        while not self._stop.is_set():
            try:
                return self._queue.get(timeout=_POLL)
            except queue.Empty:
                idle()
        raise Stopped


@dataclass(frozen=True, slots=True)
class PackedBatch:
    """A batch on its way to the writer."""

    read: ReadBatch
    samples: list[Future[list[Sample]]]


class Pipeline:
    """Generates shards; its parts are those of one run.

    Args:
        reader: Reads known views.
        completer: Completes batches.
        packer: Makes samples of completed batches.
        writer: Writes shards.
        times: Where the time of the stages is counted.
        batch: Rows of a batch.
        workers: Reading processes; 0 reads in a thread.
        threads: Threads that encode images; by default as many as processors.
        inspect: Looks at each batch before it is completed; may add to its notes.
    """

    def __init__(
        self,
        reader: ChunkReader,
        completer: Completer,
        packer: Packer,
        writer: WriterStage,
        times: StageTimes,
        *,
        batch: int,
        workers: int = 0,
        threads: int | None = None,
        inspect: Callable[[GivenBatch], object] = lambda given: None,
    ) -> None:
        self._inspect = inspect
        self._reader, self._completer, self._packer, self._writer = reader, completer, packer, writer
        self._times, self._batch, self._workers = times, batch, workers
        self._threads = threads or len(os.sched_getaffinity(0))
        self._stop = threading.Event()
        self._errors: queue.SimpleQueue[BaseException] = queue.SimpleQueue()

    def run(self, shards: Iterable[Shard], on_read: Callable[[ReadBatch], object], idle: Callable[[], object]) -> None:
        """Generate shards to their end, within ``interruption.held``.

        Whatever fails in a stage, or interrupts this thread, stops all of them before it is raised: no thread
        and no process is left, and the shards that were finished stay so.

        Args:
            shards: They are asked for somewhat ahead, from any thread.
            on_read: Called in this thread with each batch.
            idle: Called in this thread, between batches and while it waits.

        Raises:
            DimvidaError: A stage failed, or the system has no room for threads or processes.
        """
        self._stop.clear()
        incoming, outgoing = Channel(self._stop), Channel(self._stop)
        # Processes before threads: a fork takes along none of them.
        processes = ReadingProcesses(self._reader, self._workers) if self._workers else None
        pool = ThreadPoolExecutor(self._threads, thread_name_prefix="dimvida-pack")
        threads = [
            self._thread("read", lambda: self._read(processes, pieces(shards, self._batch), incoming)),
            self._thread("write", lambda: self._write(outgoing)),
        ]

        def look() -> None:
            interruption.check()
            idle()

        try:
            _start(threads)
            self._complete(incoming, outgoing, pool, on_read, look)
            while threads[1].is_alive():
                threads[1].join(_POLL)
                look()
        except Stopped:
            pass
        finally:
            self._stop.set()
            pool.shutdown(cancel_futures=True)
            for thread in filter(threading.Thread.is_alive, threads):
                thread.join()
            if processes is not None:
                processes.close()
            self._writer.abort()
            idle()
        if not self._errors.empty():
            raise self._errors.get()

    def _thread(self, name: str, work: Callable[[], None]) -> threading.Thread:
        def body() -> None:
            try:
                work()
            except Stopped:
                pass
            except BaseException as error:
                self._errors.put(error)
                self._stop.set()

        return threading.Thread(target=body, name=f"dimvida-{name}")

    def _read(self, processes: ReadingProcesses | None, order: Iterator[Piece], incoming: Channel) -> None:
        read: Iterable[tuple[Piece, GivenBatch]]
        if processes is None:
            read = ((piece, self._reader.read(piece.rows)) for piece in order)
        else:
            read = processes.read(order, self._go_on)
        for batch in self._timed("read", read_batches(self._reader.plan, read)):
            incoming.put(batch)
        incoming.put(None)

    def _complete(
        self,
        incoming: Channel,
        outgoing: Channel,
        pool: ThreadPoolExecutor,
        on_read: Callable[[ReadBatch], object],
        idle: Callable[[], object],
    ) -> None:
        while (batch := incoming.get(idle)) is not None:
            on_read(batch)
            self._inspect(batch.given)
            rows = len(batch.given.rows)
            with interruption.let_in():
                completed = self._completer.complete(batch.given) if rows else Completed(batch.given.views)
            starts = range(0, rows, PACK)
            with _room_for_threads():
                jobs = [pool.submit(self._pack, batch, completed, slice(start, start + PACK)) for start in starts]
            outgoing.put(PackedBatch(batch, jobs))
            idle()
        outgoing.put(None)

    def _go_on(self) -> None:
        if self._stop.is_set():
            raise Stopped

    def _pack(self, batch: ReadBatch, completed: Completed, rows: slice) -> list[Sample]:
        views = completed.wait()
        with self._times.host("pack"):
            return self._packer.pack(batch.given, views, rows)

    def _write(self, outgoing: Channel) -> None:
        while (batch := outgoing.get()) is not None:
            for job in batch.samples:
                samples = job.result()
                with self._times.host("write"):
                    self._writer.add(batch.read, samples)
            with self._times.host("write"):
                self._writer.end(batch.read)

    def _timed(self, stage: str, items: Iterable[T]) -> Iterator[T]:
        iterator = iter(items)
        while True:
            with self._times.host(stage):
                item = next(iterator, None)
            if item is None:
                return
            yield item


def _start(threads: list[threading.Thread]) -> None:
    with _room_for_threads():
        for thread in threads:
            thread.start()


@contextmanager
def _room_for_threads() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # "can't start new thread"
        raise DimvidaError(f"{error}; the system's limit of threads is reached (ulimit -u)") from error
