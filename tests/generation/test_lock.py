"""Locks: one job at a time, and none that outlives its processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from dimvida.errors import InputError
from dimvida.generation.lock import LOCK, FolderBusy, FolderLock, require_unled

HOLD = """
import sys
from pathlib import Path
from dimvida.generation.lock import FolderLock
FolderLock(Path(sys.argv[1]), sys.argv[2], 7)
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path: Path):
    """Another process that is at work on part 7 of a job."""
    command = [sys.executable, "-c", HOLD, str(tmp_path), "theirs"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdin.close()
    process.stdout.close()


def test_another_job_is_refused_and_a_member_of_the_same_is_not(tmp_path: Path, holder):
    with pytest.raises(InputError, match="another run is writing to it"):
        FolderLock(tmp_path, "mine")
    FolderLock(tmp_path, "theirs").release()
    with pytest.raises(InputError, match="another run"):
        FolderLock(tmp_path, "mine")


def test_a_run_whose_first_process_lives_is_told_from_what_a_lost_one_left(tmp_path: Path, holder):
    require_unled(tmp_path)
    require_unled(tmp_path / "none")
    with pytest.raises(FolderBusy) as busy:
        FolderLock(tmp_path, "mine")
    assert not busy.value.led
    first = FolderLock(tmp_path, "theirs", 0)
    for ask in (lambda: FolderLock(tmp_path, "mine"), lambda: require_unled(tmp_path)):
        with pytest.raises(FolderBusy, match="another run is writing to it") as busy:
            ask()
        assert busy.value.led
    first.release()
    require_unled(tmp_path)


def test_a_process_that_was_killed_holds_nothing(tmp_path: Path, holder):
    mine = FolderLock(tmp_path, "theirs")
    assert not mine.take(7) and not mine.be_alone()
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    assert mine.take(7) and mine.be_alone()
    mine.release()
    FolderLock(tmp_path, "mine").release()
    assert not list(tmp_path.iterdir())


def test_a_part_is_for_one(tmp_path: Path):
    one, other = FolderLock(tmp_path, "job", 0), FolderLock(tmp_path, "job", 1)
    with pytest.raises(InputError, match="another process of this job makes these shards"):
        FolderLock(tmp_path, "job", 1)
    assert not one.take(1)
    other.give_back(1)
    assert one.take(1) and not other.take(1)
    one.release()
    assert other.take(0) and other.take(1)
    other.release()
    assert not list(tmp_path.iterdir())


def test_the_last_one_to_leave_removes_the_lock(tmp_path: Path):
    first, second = FolderLock(tmp_path, "job", 0), FolderLock(tmp_path, "job", 1)
    first.release()
    assert list(tmp_path.iterdir())
    with pytest.raises(InputError):
        FolderLock(tmp_path, "other")
    second.release()
    second.release()
    assert not list(tmp_path.iterdir())


def test_a_lock_file_that_cannot_be_removed_hides_nothing_and_stops_nobody(tmp_path: Path, monkeypatch):
    def refuse(path: Path, missing_ok: bool) -> None:
        raise PermissionError(1, "Operation not permitted", str(path))

    monkeypatch.setattr(Path, "unlink", refuse)
    for job in ("first", "second"):
        FolderLock(tmp_path, job).release()
        assert (tmp_path / LOCK).exists()


def test_two_that_want_to_be_alone_are_one_after_the_other(tmp_path: Path):
    one, other, third = (FolderLock(tmp_path, "job", part) for part in range(3))
    assert not one.be_alone() and not other.be_alone()  # the third is there
    with pytest.raises(InputError, match="another run"):
        FolderLock(tmp_path, "elsewhere")  # neither of them has gone
    third.release()
    assert one.be_alone() and not other.be_alone()
    one.release()
    assert other.be_alone()
    other.release()
    assert not list(tmp_path.iterdir())


def test_nobody_comes_in_while_one_is_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    one, entered, refused = FolderLock(tmp_path, "job", 0), threading.Event(), threading.Event()
    assert one.be_alone()
    sleep = time.sleep
    monkeypatch.setattr(time, "sleep", lambda seconds: (refused.set(), sleep(seconds)))  # before it tries again

    def enter() -> None:
        lock = FolderLock(tmp_path, "job", 1)
        entered.set()
        lock.release()

    thread = threading.Thread(target=enter)
    thread.start()
    assert refused.wait(60) and not entered.is_set()
    one.release()
    thread.join()
    assert entered.is_set() and not list(tmp_path.iterdir())


def test_only_the_first_one_prepares(tmp_path: Path):
    calls = []
    locks = [FolderLock(tmp_path, "job", part, first=lambda part=part: calls.append(part)) for part in range(3)]
    assert calls == [0]
    for lock in locks:
        lock.release()
    FolderLock(tmp_path, "job", first=lambda: calls.append(3)).release()
    assert calls == [0, 3]


def test_a_preparation_that_fails_leaves_no_lock(tmp_path: Path):
    def fail() -> None:
        raise InputError("no")

    with pytest.raises(InputError, match="no"):
        FolderLock(tmp_path, "job", first=fail)
    FolderLock(tmp_path, "other").release()
    assert not list(tmp_path.iterdir())


COME_AND_GO = """
import sys
from pathlib import Path
from dimvida.errors import InputError
from dimvida.generation.lock import FolderLock
folder, job, part = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
for _ in range(200):
    try:
        lock = FolderLock(folder, job, part, first=lambda: None)
    except InputError:
        continue
    held = folder / f"{job}-{part}"
    held.touch()
    assert not [path for path in folder.glob("*-*") if not path.name.startswith(job)], "two jobs at once"
    held.unlink()
    lock.release()
"""


def test_many_that_come_and_go_are_of_one_job_at_a_time(tmp_path: Path):
    places = [("one", "0"), ("one", "1"), ("two", "0"), ("two", "1")]
    processes = [subprocess.Popen([sys.executable, "-c", COME_AND_GO, str(tmp_path), *place]) for place in places]
    assert [process.wait(timeout=600) for process in processes] == [0] * 4
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["link", "hard link", "pipe", "folder", "link to nothing"])
def test_what_is_no_lock_file_is_refused_and_never_written_to(tmp_path: Path, kind: str):
    folder, precious = tmp_path / "out", tmp_path / "precious"
    folder.mkdir()
    precious.write_text("mine")
    path = folder / LOCK
    if kind == "link":
        path.symlink_to(precious)
    elif kind == "hard link":
        os.link(precious, path)
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(tmp_path / "made")
    with pytest.raises(InputError, match=rf"{LOCK}: is no lock file but a link or a special file; remove it"):
        FolderLock(folder, "job")
    assert precious.read_text() == "mine" and not (tmp_path / "made").exists()
    assert os.path.lexists(path)
