"""``dimvida generate --workers``: however processes are made, with little to go round, and when one is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.objects import tree

from .conftest import at_shard, wait_until_it_stops

OBJECTS = 24


@pytest.fixture
def images(tmp_path: Path, write_fronts) -> Path:
    return write_fronts(tmp_path / "images", OBJECTS)


START = """
import multiprocessing, sys
if __name__ == "__main__":
    multiprocessing.set_start_method(sys.argv.pop(1))
    from dimvida.__main__ import main
    main()
"""


@pytest.fixture
def command(images: Path, generation) -> Callable[..., list[str]]:
    return lambda output, *more: generation(images, output, "--shard-size", 3, *more)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["folder", "zip", "tar shards", "npy shards"])
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_however_processes_are_made(dimvida, command, images, tmp_path, method: str, form: str):
    if form == "zip":
        subprocess.run([sys.executable, "-m", "zipfile", "-c", tmp_path / "i.zip", images / "chair"], check=True)
        source = tmp_path / "i.zip"
    elif form == "folder":
        source = images
    else:
        kind = {"tar shards": "webdataset", "npy shards": "npy"}[form]
        source = tmp_path / "shards"
        assert dimvida(*command(source, "--format", kind, "--target", "left", "--include-known")).code == 0
    more = ("--data", source, "--target", "back", "--view", "front")
    assert dimvida(*command(tmp_path / "one", *more)).code == 0
    (tmp_path / "start.py").write_text(START)
    arguments = command(tmp_path / "many", *more, "--workers", 2)
    done = subprocess.run(
        [sys.executable, tmp_path / "start.py", method, *arguments], capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    assert tree(tmp_path / "many") == tree(tmp_path / "one")


def readers_of(pid: int) -> list[int]:
    """Reading processes of a run: its children but for the one that Python starts where it does not fork."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [child for child in map(int, children) if "resource_tracker" not in _command_line(child)]


@pytest.mark.slow
@pytest.mark.parametrize("method", ["fork", "forkserver"])
def test_after_a_kill_nothing_holds_the_folder(command, tmp_path: Path, method: str):
    arguments = command(tmp_path / "out", "--workers", 2)
    python, option, script, *rest = at_shard(1, signal.SIGSTOP, arguments)
    script = f"import multiprocessing\nmultiprocessing.set_start_method({method!r})\n{script}"
    first = subprocess.Popen([python, option, script, *rest], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_until_it_stops(first)
    readers = readers_of(first.pid)
    assert len(readers) == 2
    os.kill(readers[0], signal.SIGSTOP)
    first.kill()
    first.wait()
    again = subprocess.run([sys.executable, "-m", "dimvida", *arguments], capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert not [pid for pid in readers if _command_line(pid)]


def _command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


@pytest.mark.slow
def test_a_reading_process_that_the_system_kills(dimvida, command, tmp_path):
    more = ("--samples-per-view", 9)
    assert dimvida(*command(tmp_path / "one", *more)).code == 0
    arguments = command(tmp_path / "out", *more, "--workers", 2)
    run = subprocess.Popen(
        at_shard(1, signal.SIGSTOP, arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    wait_until_it_stops(run)
    os.kill(readers_of(run.pid)[0], signal.SIGKILL)
    run.send_signal(signal.SIGCONT)
    _, errors = run.communicate(timeout=600)
    assert run.returncode == 1
    (line,) = [line for line in errors.splitlines() if line.startswith("error:")]
    assert "a reading process was killed (SIGKILL)" in line and "the same command continues" in line
    assert "Traceback" not in errors
    again = subprocess.run([sys.executable, "-m", "dimvida", *arguments], capture_output=True)
    assert again.returncode == 0
    assert tree(tmp_path / "out") == tree(tmp_path / "one")


@pytest.mark.slow
def test_next_to_no_shared_memory(dimvida, command, tmp_path: Path):
    assert dimvida(*command(tmp_path / "one")).code == 0
    small = 'mount -t tmpfs -o size=4k tmpfs /dev/shm && dd if=/dev/zero of=/dev/shm/full bs=4k count=1 && "$@"'
    if subprocess.run(["unshare", "-m", "sh", "-c", small, "sh", "true"], capture_output=True).returncode:
        pytest.skip("no permission to mount a file system")
    arguments = [sys.executable, "-m", "dimvida", *command(tmp_path / "out", "--workers", 2)]
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", small, "sh", *arguments], capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    assert tree(tmp_path / "out") == tree(tmp_path / "one")


@pytest.mark.slow
@pytest.mark.parametrize(("files", "workers"), [(64, 0), (64, 4), (24, 8)])
def test_few_files_may_be_open(command, tmp_path: Path, files: int, workers: int):
    limited = f'ulimit -n {files} && exec "$@"'
    arguments = [sys.executable, "-m", "dimvida", *command(tmp_path / "out", "--workers", workers)]
    done = subprocess.run(["sh", "-c", limited, "sh", *arguments], capture_output=True, text=True)
    if workers < 8:
        assert done.returncode == 0, done.stderr
    else:
        assert done.returncode == 1
        (line,) = [line for line in done.stderr.splitlines() if line.startswith("error:")]
        assert line == "error: --workers 8: so many processes cannot be started (Too many open files); give fewer"
