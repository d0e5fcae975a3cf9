"""The command line as a user meets it, arguments in, exit code and two streams out; and processes that are killed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from helpers.commands import Forked, Result
from helpers.objects import VIEWS, tree

from dimvida.cli.app import run


@pytest.fixture(autouse=True)
def in_one_thread(one_thread: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """For every test of this folder, and the processes it starts."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture
def narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


@pytest.fixture
def dimvida(capsys: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    """Runs a command line in this process."""

    def call(*arguments: object) -> Result:
        capsys.readouterr()
        code = run([str(argument) for argument in arguments])
        return Result(code, *capsys.readouterr())

    return call


@pytest.fixture
def dimvida_process(tmp_path: Path) -> Callable[..., Result]:
    """Runs a command line in a process of its own, in ``tmp_path``."""

    def call(*arguments: object) -> Result:
        command = [sys.executable, "-m", "dimvida", *map(str, arguments)]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        return Result(done.returncode, done.stdout, done.stderr)

    return call


@pytest.fixture
def generation(tiny_checkpoint: Path) -> Callable[..., list[str]]:
    """Makes arguments of ``dimvida`` that complete images by the tiny checkpoint, two at a time."""

    def make(images: Path, output: Path, *more: object) -> list[str]:
        options = ["--data", images, "--out", output, "--checkpoint", tiny_checkpoint, "--batch", 2, *more]
        return ["generate", *map(str, options)]

    return make


@pytest.fixture
def objects(tmp_path: Path, write_objects) -> Path:
    """Three objects with all four views."""
    return write_objects(tmp_path / "objects", {"chair/a": VIEWS, "chair/b": VIEWS, "table/c": VIEWS})


@pytest.fixture
def fronts(tmp_path: Path, tiny_image) -> Path:
    """Four single images of which nothing says the view."""
    folder = tmp_path / "fronts"
    for number, name in enumerate(("chair/a", "chair/b", "table/c", "table/d")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        tiny_image(number).save(folder / f"{name}.png")
    return folder


@pytest.fixture
def refused(dimvida, tiny_checkpoint: Path, tmp_path: Path) -> Callable[..., str]:
    """Runs a generation that must be refused, and returns the error line.

    Everything below ``tmp_path`` must be the same afterwards.
    """

    def call(input_: object, *options: object, checkpoint: Path = tiny_checkpoint, output: Path | None = None) -> str:
        before = tree(tmp_path)
        output = output or tmp_path / "out"
        existed = output.exists()
        result = dimvida("generate", "--data", input_, "--out", output, "--checkpoint", checkpoint, *options)
        line = result.refusal()
        assert tree(tmp_path) == before
        assert output.exists() == existed
        return line

    return call


@pytest.fixture
def accepted(dimvida, tiny_checkpoint: Path, tmp_path: Path) -> Callable[..., str]:
    """Runs a generation that must work, and returns standard output."""

    def call(input_: object, *options: object) -> str:
        result = dimvida(
            "generate", "--data", input_, "--out", tmp_path / "out", "--checkpoint", tiny_checkpoint, *options
        )
        assert result.code == 0, result
        return result.out

    return call


@pytest.fixture
def evaluate(dimvida: Callable[..., Result], tiny_checkpoint: Path) -> Callable[..., Result]:
    """Runs ``dimvida evaluate`` with the tiny checkpoint on data."""

    def call(data: Path, *options: object) -> Result:
        return dimvida("evaluate", "--data", data, "--checkpoint", tiny_checkpoint, "--steps", 2, *options)

    return call


AT_SHARD = """
import signal, sys, threading
from dimvida.generation.output import OutputFolder

left, number, finished = int(sys.argv.pop(1)), int(sys.argv.pop(1)), OutputFolder.add

def signal_itself(self, stats):
    global left
    finished(self, stats)
    left -= 1
    if left == 0:
        signal.pthread_kill(threading.get_ident(), number)

OutputFolder.add = signal_itself
from dimvida.__main__ import main
main()
"""


def at_shard(shards: int, number: int, arguments: list[str]) -> list[str]:
    """A command line whose process sends itself a signal, SIGKILL or SIGSTOP, when it has finished so many shards.

    No run is too fast for that, and no machine too busy.
    """
    return [sys.executable, "-c", AT_SHARD, str(shards), str(number), *arguments]


def wait_until_it_stops(process: subprocess.Popen) -> None:
    """Wait for a SIGSTOP; then nothing of the process goes on until SIGCONT."""
    state = os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
    assert state is not None and state.si_code == os.CLD_STOPPED, "it ended before"


def torchrun(count: int, *arguments: str) -> list[str]:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)]
    return [*launcher, "-m", "dimvida", *arguments]


def killed_at_access(folder: Path, last: int, arguments: Sequence[str], log: Path) -> Result:
    """Run a command line in a process that SIGKILL ends before its ``last``-th access to a file of a folder.

    With 0 it comes to its end, and its last line on standard output says how many accesses there were.
    """
    for suffix in (".out", ".err"):
        log.with_suffix(suffix).unlink(missing_ok=True)
    return Forked(list(arguments), log, watched=(str(folder), last)).finish()


def finished_shards(output: Path) -> int:
    """How many shards an output folder has."""
    return len(list(output.glob("shard-*.json")))
