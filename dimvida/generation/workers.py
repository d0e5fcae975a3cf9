"""Processes that read: each has a pipe of its own, and nothing else in common with this one.

No shared memory, of which containers have little, no locks, and no thread: a process that is killed ends its pipe,
which is noticed at once.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import multiprocessing
import pickle
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext

import numpy as np
import torch
from torch import Tensor

from dimvida import interruption
from dimvida.errors import DimvidaError, InputError
from dimvida.generation.read import Chunk, ReadBatch, RowReader

PREFETCH = 2
"""Chunks that each process reads ahead."""
_NO_IMAGES = torch.empty(0, dtype=torch.uint8)
_POLL = 0.1  # seconds after which it is asked whether to go on waiting
_LAST = 1.0  # seconds for a killed process to end; one that waits for a dead disk does not


@contextlib.contextmanager
def chunk_reader(
    reader: RowReader, count: int
) -> Iterator[Callable[[Iterator[Chunk], Callable[[], object]], Iterator[ReadBatch]]]:
    """What reads chunks of rows: processes, started before any thread, as a fork takes along none; or this one."""
    if count:
        with contextlib.closing(ReadingProcesses(reader, count)) as processes:
            yield processes.read
    else:
        yield lambda chunks, goes_on: itertools.starmap(reader.read, chunks)


class ReadingProcesses:
    """Processes that read chunks of rows ahead; started at once, ended by ``close``.

    They are forked where Python forks by default (``multiprocessing.set_start_method``), else spawned: those of a fork
    server are not this process's own, and one that is stuck would outlive it.

    Args:
        reader: Reads in each of them.
        count: Number of processes.

    Raises:
        DimvidaError: The system does not allow so many.
    """

    def __init__(self, reader: RowReader, count: int) -> None:
        self._workers: list[_Worker] = []
        forks = multiprocessing.get_start_method() == "fork"
        context = multiprocessing.get_context("fork" if forks else "spawn")
        try:
            if not forks:
                resource_tracker.ensure_running()  # older Pythons start it when it is needed, and unblock signals then
            with interruption.blocked():
                for _ in range(count):
                    self._workers.append(_Worker(context, reader))
        except OSError as error:
            self.close()
            raise DimvidaError(
                f"--workers {count}: so many processes cannot be started ({error.strerror}); give fewer"
            ) from error

    def read(self, chunks: Iterable[Chunk], goes_on: Callable[[], object]) -> Iterator[ReadBatch]:
        """Read chunks of rows, and give them in order.

        Args:
            chunks: What to read; asked for somewhat ahead.
            goes_on: Called while waiting; raises whatever ends that.

        Raises:
            InputError: An image has another size, and the reader is strict; see ``RowReader.read``.
            DimvidaError: A process failed, or was killed.
        """
        rest, turns = iter(chunks), itertools.cycle(self._workers)
        waiting: deque[tuple[_Worker, Tensor]] = deque()
        while True:
            while len(waiting) < PREFETCH * len(self._workers) and (chunk := next(rest, None)) is not None:
                worker = next(turns)
                worker.ask(chunk[0])
                waiting.append((worker, chunk[1]))
            if not waiting:
                return
            worker, room = waiting.popleft()
            yield worker.answer(room, goes_on)

    def close(self) -> None:
        """End all processes."""
        for worker in self._workers:
            worker.kill()
        for worker in self._workers:
            worker.join()


class _Worker:
    def __init__(self, context: BaseContext, reader: RowReader) -> None:
        self._pipe, its_end = context.Pipe()
        self._process = context.Process(target=_serve, args=(its_end, reader), name="dimvida-reader", daemon=True)
        try:
            self._process.start()
        except BaseException:
            self._pipe.close()
            raise
        finally:
            its_end.close()  # so that the pipe ends with the process

    def ask(self, rows: range) -> None:
        """Give it something to read. A few wait in the pipe."""
        with self._told():
            self._pipe.send(rows)

    def answer(self, room: Tensor, goes_on: Callable[[], object]) -> ReadBatch:
        """What it read, in the order of asking; its images go from the pipe to where there is room for them."""
        with self._told():
            while not self._pipe.poll(_POLL):
                goes_on()
            batch, count = pickle.loads(self._pipe.recv_bytes())
            if count:
                self._pipe.recv_bytes_into(memoryview(room[:count].numpy()).cast("B"))
        if isinstance(batch, DimvidaError):
            raise batch
        return dataclasses.replace(batch, images=room[:count])

    def kill(self) -> None:
        self._process.kill()

    def join(self) -> None:
        self._process.join(_LAST)
        self._pipe.close()

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (EOFError, OSError) as error:
            self._process.join(_LAST)
            code = self._process.exitcode
            how = f"was killed ({signal.Signals(-code).name})" if code is not None and code < 0 else "ended"
            raise DimvidaError(
                f"a reading process {how}, as where memory is short; the same command continues, maybe with fewer "
                "--workers"
            ) from error


def _serve(pipe: Connection, reader: RowReader) -> None:
    # Signals are blocked from the start: those for the whole group are the first process's matter.
    interruption.die_with_parent()
    parent = multiprocessing.parent_process()
    if parent is None or not parent.is_alive():  # before that took effect
        return
    torch.set_num_threads(1)
    with contextlib.suppress(EOFError, OSError):  # nobody is there any more
        while True:
            batch, images = _read(reader, pipe.recv())
            pipe.send_bytes(pickle.dumps((batch, len(images)), protocol=pickle.HIGHEST_PROTOCOL))
            if len(images):
                pipe.send_bytes(memoryview(images).cast("B"))


def _read(reader: RowReader, rows: range) -> tuple[ReadBatch | DimvidaError, np.ndarray]:
    """What can be pickled, and the images, which are sent as they are: tensors would go through shared memory."""
    try:
        batch = reader.read(rows)
        return dataclasses.replace(batch, images=_NO_IMAGES), batch.images.numpy()
    except InputError as error:
        return InputError(str(error)), _NO_IMAGES.numpy()  # whatever kind it is, as not all can be sent
    except Exception as error:
        failure = DimvidaError(f"reading failed in a process: {type(error).__name__}: {error}")
        return failure, _NO_IMAGES.numpy()
