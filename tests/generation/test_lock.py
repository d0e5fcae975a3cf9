"""Locks: one job at a time, and none that outlives its processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dimvida.errors import InputError
from dimvida.generation.lock import FileLock, JobLock

HOLD = """
import sys
from pathlib import Path
from dimvida.generation.lock import FileLock, JobLock
JobLock(Path(sys.argv[1]), sys.argv[2])
claim = FileLock(Path(sys.argv[1]) / "claim")
claim.acquire()
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path: Path):
    """Another process that holds the job's lock and a claim."""
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
        JobLock(tmp_path, "mine")
    JobLock(tmp_path, "theirs").release()
    with pytest.raises(InputError, match="another run"):
        JobLock(tmp_path, "mine")


def test_a_process_that_was_killed_holds_nothing(tmp_path: Path, holder):
    claim = FileLock(tmp_path / "claim")
    assert not claim.acquire()
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    assert claim.acquire()
    claim.release()
    JobLock(tmp_path, "mine").release()
    assert not list(tmp_path.iterdir())


def test_the_last_one_to_leave_removes_the_lock(tmp_path: Path):
    first, second = JobLock(tmp_path, "job"), JobLock(tmp_path, "job")
    first.release()
    assert list(tmp_path.iterdir())
    with pytest.raises(InputError):
        JobLock(tmp_path, "other")
    second.release()
    assert not list(tmp_path.iterdir())


def test_only_the_first_one_prepares(tmp_path: Path):
    calls = []
    locks = [JobLock(tmp_path, "job", first=lambda number=number: calls.append(number)) for number in range(3)]
    assert calls == [0]
    for lock in locks:
        lock.release()
    JobLock(tmp_path, "job", first=lambda: calls.append(3)).release()
    assert calls == [0, 3]


def test_a_preparation_that_fails_leaves_no_lock(tmp_path: Path):
    def fail() -> None:
        raise InputError("no")

    with pytest.raises(InputError, match="no"):
        JobLock(tmp_path, "job", first=fail)
    JobLock(tmp_path, "other").release()


def test_a_claim_is_for_one(tmp_path: Path):
    one, other = FileLock(tmp_path / "claim"), FileLock(tmp_path / "claim")
    assert one.acquire()
    assert not other.acquire()
    one.release()
    assert other.acquire()
    other.release()
    assert not (tmp_path / "claim").exists()


@pytest.mark.parametrize("name", [".generation.lock", ".generation.gate"])
@pytest.mark.parametrize("kind", ["link", "hard link", "pipe", "folder", "link to nothing"])
def test_what_is_no_lock_file_is_refused_and_never_written_to(tmp_path: Path, name: str, kind: str):
    folder, precious = tmp_path / "out", tmp_path / "precious"
    folder.mkdir()
    precious.write_text("mine")
    path = folder / name
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
    with pytest.raises(InputError, match=rf"{name}: is no lock file but a link or a special file; remove it"):
        JobLock(folder, "job")
    assert precious.read_text() == "mine" and not (tmp_path / "made").exists()
    assert os.path.lexists(path)
