"""The least that the host does for mass generation: the same bytes read, hashed, encoded and written, by all cores.

A plain loop in each of as many processes as there are cores, over shards of its own. It imports no torch, so that a
process of it is there at once.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType

import numpy as np

from dimvida.data.image_files import run_length_png
from dimvida.generation.formats.imagefolder import sync_file_system


@dataclass(frozen=True, slots=True)
class Work:
    """A finished output, and what it was made of.

    Attributes:
        inputs: An array of known views, uint8 [N, H, W, C], taken in turn, one for each object.
        pictures: An array of what is made, uint8 [M, H, W, C], taken in turn.
        output: The output, whose bytes are written again.
        shards: Name without suffix, first object and number of objects of each shard.
        views: Pictures of each object.
        encoded: Whether they are PNG files, and not pixels.
    """

    inputs: Path
    pictures: Path
    output: Path
    shards: tuple[tuple[str, int, int], ...]
    views: int
    encoded: bool


class FloorProcesses:
    """Processes that do the work again and again; a context manager.

    Args:
        work: What to do.
        count: How many processes.
    """

    def __init__(self, work: Work, count: int) -> None:
        # Spawned: a fork would take along whatever threads of torch are in the middle of.
        context = multiprocessing.get_context("spawn")
        self._pipes: list[Connection] = []
        self._processes = []
        for number in range(count):
            pipe, its_end = context.Pipe()
            process = context.Process(target=_serve, args=(its_end, work, number, count), daemon=True)
            process.start()
            its_end.close()
            self._pipes.append(pipe)
            self._processes.append(process)
        for pipe in self._pipes:
            pipe.recv()  # has in memory what it writes

    def __enter__(self) -> FloorProcesses:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for pipe in self._pipes:
            pipe.close()
        for process in self._processes:
            process.join()

    def run(self, folder: Path) -> tuple[float, float]:
        """Do all of it once, into an empty folder: seconds on the wall, and of all processors together."""
        begin = time.perf_counter()
        for pipe in self._pipes:
            pipe.send((folder, False))
        processors = sum(pipe.recv() for pipe in self._pipes)
        self._pipes[0].send((folder, True))
        processors += self._pipes[0].recv()
        return time.perf_counter() - begin, processors


def _serve(pipe: Connection, work: Work, number: int, count: int) -> None:
    shards = [_Shard(work, *shard) for shard in work.shards[number::count]]
    at_end = _files_at_end(work) if number == 0 else {}
    inputs, pictures = np.load(work.inputs, mmap_mode="r"), np.load(work.pictures)
    pipe.send(None)
    while True:
        try:
            folder, ends = pipe.recv()
        except EOFError:
            return
        begin = time.process_time()
        if ends:
            _store(folder, at_end)
        else:
            for shard in shards:
                shard.make(folder, inputs, pictures, work)
        pipe.send(time.process_time() - begin)


class _Shard:
    """One shard: the files that its pictures are, and everything else that is written, in memory."""

    def __init__(self, work: Work, stem: str, first: int, objects: int) -> None:
        self._objects = range(first, first + objects)
        names = [name for name, _, _ in json.loads((work.output / f"{stem}.json").read_bytes())["files"]]
        self._pictures = [name for name in names if name.endswith(".png")]
        others = [*(name for name in names if not name.endswith(".png")), f"{stem}.json"]
        self._others = {name: (work.output / name).read_bytes() for name in others}

    def make(self, folder: Path, inputs: np.ndarray, pictures: np.ndarray, work: Work) -> None:
        for place in self._objects:
            hashlib.sha256(np.array(inputs[place % len(inputs)])).hexdigest()
        for number in range(work.views * len(self._objects)):
            data = pictures[number % len(pictures)]
            if work.encoded:
                data = run_length_png(data)
            hashlib.sha256(data).hexdigest()
            if self._pictures:
                with open(folder / self._pictures[number], "wb") as file:
                    file.write(data)
        if self._pictures:
            sync_file_system(folder)
        for data in self._others.values():
            hashlib.sha256(data).hexdigest()
        _store(folder, self._others)


def _files_at_end(work: Work) -> dict[str, bytes]:
    """What is in the output besides its shards: the card with its picture, the report and the like."""
    of_shards = tuple(f"{stem}." for stem, _, _ in work.shards)
    files = (path for path in work.output.iterdir() if path.is_file() and not path.name.startswith(of_shards))
    return {path.name: path.read_bytes() for path in files if path.stat().st_size}


def _store(folder: Path, files: Mapping[str, bytes]) -> None:
    for name, data in files.items():
        with open(folder / name, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
