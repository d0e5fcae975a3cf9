"""Processes that read: the same bytes however they are made; none is waited for in vain or outlives its work."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers.objects import VIEWS, tree

from dimvida import interruption
from dimvida.data.opening import open_source
from dimvida.errors import DimvidaError, InputError
from dimvida.generation.lock import LOCK, FolderLock
from dimvida.generation.plan import make_plan
from dimvida.generation.read import Chunk, RowReader
from dimvida.generation.workers import ReadingProcesses

OBJECTS = 24
SIZE = 16


@pytest.fixture
def images(tmp_path: Path, write_fronts) -> Path:
    return write_fronts(tmp_path / "images", OBJECTS)


@pytest.fixture
def reader(images: Path) -> RowReader:
    return RowReader(make_plan(open_source(images), VIEWS), SIZE, strict=False)


def children() -> set[int]:
    """What was started by multiprocessing, however it makes processes, and lives."""
    return {process.pid for process in multiprocessing.active_children()}


def go_on() -> None:
    """Called while an answer is waited for."""


def order() -> list[Chunk]:
    """Every row, with room for its image."""
    room = torch.zeros(OBJECTS, SIZE, SIZE, 3, dtype=torch.uint8)
    return [(range(place, place + 1), room[place : place + 1]) for place in range(OBJECTS)]


def test_chunks_come_in_order_with_what_is_read_here(reader):
    processes = ReadingProcesses(reader, 3)
    try:
        chunks = order()
        for (rows, room), given in zip(chunks, processes.read(chunks, go_on), strict=True):
            expected = reader.read(rows)
            assert given.rows[0].task.record.id == expected.rows[0].task.record.id
            assert given.images.equal(expected.images) and given.images.data_ptr() == room.data_ptr()
            assert given.hashes == expected.hashes
    finally:
        processes.close()


def test_a_killed_process_is_noticed_and_all_end(reader):
    before = children()
    processes = ReadingProcesses(reader, 2)
    mine = children() - before
    assert len(mine) == 2
    os.kill(max(mine), signal.SIGKILL)
    with pytest.raises(DimvidaError, match=r"a reading process was killed \(SIGKILL\).*the same command continues"):
        list(processes.read(order(), go_on))
    processes.close()
    assert children() == before


def test_a_process_that_is_stuck_is_waited_for_only_as_long_as_wanted(reader):
    class NoMore(Exception):
        pass

    def stop() -> None:
        raise NoMore

    before = children()
    processes = ReadingProcesses(reader, 1)
    (stuck,) = children() - before
    os.kill(stuck, signal.SIGSTOP)
    with pytest.raises(NoMore):
        list(processes.read(order(), stop))
    processes.close()
    assert children() == before


@pytest.mark.parametrize(
    ("size", "kind", "text"),
    [
        (SIZE + 1, InputError, r"00__front.png: 16 x 16 pixels instead of 17 x 17"),
        ("a bug", DimvidaError, r"reading failed in a process: TypeError: "),
    ],
)
def test_what_fails_there_is_told_here(reader, size, kind: type[Exception], text: str):
    processes = ReadingProcesses(RowReader(reader.plan, size, strict=True), 1)
    try:
        with pytest.raises(DimvidaError, match=text) as caught:
            list(processes.read(order(), go_on))
        assert type(caught.value) is kind
    finally:
        processes.close()


MASKS = """
import multiprocessing, sys
from pathlib import Path
from dimvida.generation.workers import ReadingProcesses

if __name__ == "__main__":
    multiprocessing.set_start_method(sys.argv[1])
    processes = ReadingProcesses(None, 2)
    for child in multiprocessing.active_children():
        print(*[line for line in Path(f"/proc/{child.pid}/status").read_text().splitlines() if "SigBlk" in line])
    processes.close()
"""


@pytest.mark.slow
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_signals_for_the_whole_group_never_reach_them(tmp_path: Path, method: str):
    (tmp_path / "masks.py").write_text(MASKS)
    done = subprocess.run([sys.executable, tmp_path / "masks.py", method], capture_output=True, text=True)
    masks = [int(line.split()[1], 16) for line in done.stdout.splitlines()]
    assert len(masks) == 2, done.stderr
    for number in interruption.SIGNALS:
        assert all(mask >> (number - 1) & 1 for mask in masks), f"{number!r} in {masks}"


def test_a_forked_process_keeps_no_lock(tmp_path: Path):
    lock = FolderLock(tmp_path, "job")
    ready, go = os.pipe(), os.pipe()
    if (child := os.fork()) == 0:
        os.write(ready[1], b"x")
        os.read(go[0], 1)
        os._exit(0)
    try:
        os.read(ready[0], 1)
        lock.release()  # closes the last descriptor, unless the child has one
        held = Path(f"/proc/{child}/fd")
        assert not [link for link in held.iterdir() if LOCK in os.readlink(link)]
    finally:
        os.write(go[1], b"x")
        os.waitpid(child, 0)


def test_reading_processes_give_the_same_bytes(start, tmp_path: Path):
    for workers in (0, 2):
        with start(tmp_path / str(workers), workers=workers) as generation:
            generation.run()
    assert tree(tmp_path / "0") == tree(tmp_path / "2")
