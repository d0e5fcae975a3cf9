"""Signals at any moment of a process's life: one line, the code that says which, and the same command continues."""

from __future__ import annotations

import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.commands import free_port, wait_until
from helpers.objects import tree

from .conftest import finished_shards

OBJECTS = 12
LINES = {
    signal.SIGINT: "error: interrupted",
    signal.SIGTERM: "error: stopped by SIGTERM",
    signal.SIGHUP: "error: stopped by SIGHUP",
}


@pytest.fixture
def command(tmp_path: Path, write_fronts, generation) -> Callable[..., list[str]]:
    images = write_fronts(tmp_path / "images", OBJECTS)

    def make(output: Path, *more: object) -> list[str]:
        return [sys.executable, "-m", "dimvida", *generation(images, output, "--shard-size", 2, *more)]

    return make


def start(arguments: list[str], **environment: str) -> subprocess.Popen[str]:
    """A process that a shell started in the foreground: nothing is ignored, and it has a group of its own."""

    def as_in_a_terminal() -> None:
        for number in LINES:
            signal.signal(number, signal.SIG_DFL)

    return subprocess.Popen(
        arguments,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=as_in_a_terminal,
        env=os.environ | environment,
    )


def check(process: subprocess.Popen[str], number: signal.Signals) -> int:
    """Its exit code, after it ended as it should by this signal or before it."""
    try:
        _, errors = process.communicate(timeout=600)
    finally:
        process.kill()
    assert "Traceback" not in errors and "Exception ignored" not in errors, errors
    lines = [line for line in errors.splitlines() if line.startswith("error:")]
    if process.returncode:
        assert (process.returncode, lines) == (128 + number, [LINES[number]]), errors
    else:
        assert not lines
    return process.returncode


def until_a_shard_is_begun(process: subprocess.Popen[str], output: Path, after: int = 0) -> None:
    """Wait until a process that has finished so many shards has a further one in hand, or has ended."""

    def there() -> bool:
        return finished_shards(output) >= after and any(output.glob(".shard-*"))

    wait_until(lambda: there() or process.poll() is not None)


# Python has started and runs what it was told to once it imports the command line.
def at_the_first_import(process: subprocess.Popen[str], module: str) -> None:
    for line in process.stderr:
        if f"import '{module}'" in line:
            return
    pytest.fail(f"{module} was not imported")


@pytest.mark.parametrize("module", ["dimvida.cli", "rich", "numpy"])
def test_ctrl_c_while_modules_are_imported(command, tmp_path: Path, module: str):
    python, *rest = command(tmp_path / "out")
    process = start([python, "-v", *rest])
    at_the_first_import(process, module)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 130
    assert errors.splitlines()[-1] == "error: interrupted" and "Traceback" not in errors


AT_THE_END = """
import os, signal
from dimvida.__main__ import main
from dimvida.cli import app
run = app.run
app.run = lambda arguments: (run(arguments), os.kill(os.getpid(), signal.SIGINT))[0]
main()
"""


def test_ctrl_c_when_all_is_done():
    process = start([sys.executable, "-c", AT_THE_END, "--version"])
    assert check(process, signal.SIGINT) == 130


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_signals_at_any_moment(command, tmp_path: Path, workers: int):
    """Twelve moments each from the first file on, each run going on where the one before ended."""
    assert subprocess.run(command(tmp_path / "whole", "--samples-per-view", 4)).returncode == 0
    whole = tree(tmp_path / "whole")
    output, chance = tmp_path / "cut", random.Random(workers)
    arguments = command(output, "--samples-per-view", 4, "--workers", workers)
    for _ in range(12):
        number = chance.choice(list(LINES))
        process = start(arguments)
        shards = finished_shards(output)
        until_a_shard_is_begun(process, output, after=shards + chance.choice([0, 0, 1, 2]))
        time.sleep(chance.choice([0.0, 0.01, 0.1]) * chance.random())  # a moment within it, not a wait for something
        send = os.killpg if chance.random() < 0.5 else os.kill
        if process.poll() is None:
            send(process.pid, number)
        if check(process, number):
            assert {path.name for path in output.glob(".*")} <= {".contact-sheet.png"}, "what was temporary went"
            assert finished_shards(output) >= shards
    assert subprocess.run(arguments).returncode == 0
    assert tree(output) == whole


@pytest.mark.slow
@pytest.mark.parametrize("heard", [False, True])
def test_ctrl_c_twice(command, tmp_path: Path, heard: bool):
    """The second one waits for nothing: it comes at once, or when the shard that the first met has gone."""
    output = tmp_path / "out"
    process = start(command(output, "--samples-per-view", 50))
    until_a_shard_is_begun(process, output)
    process.send_signal(signal.SIGINT)
    if heard:
        wait_until(lambda: not list(output.glob(".shard-*")) or process.poll() is not None)
    process.send_signal(signal.SIGINT)
    assert check(process, signal.SIGINT) == 130


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_ctrl_c_while_other_ranks_are_awaited(command, tmp_path: Path, rank: int):
    """The other one is this test: it meets the rank, and says nothing."""
    port = free_port()
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2", "RANK": str(rank)}
    if rank:
        with socket.create_server(("127.0.0.1", port)) as server:
            process = start(command(tmp_path / "out"), **place)
            other, _ = server.accept()
    else:
        process = start(command(tmp_path / "out"), **place)
        other = socket.socket()
        wait_until(lambda: not other.connect_ex(("127.0.0.1", port)) or process.poll() is not None)
    with other:
        process.send_signal(signal.SIGINT)
        assert check(process, signal.SIGINT) == 130


@pytest.mark.parametrize("variables", [{"WORLD_SIZE": "1"}, {"WORLD_SIZE": "1", "RANK": "0"}])
def test_one_process_with_the_variables_of_ranks_is_alone(
    dimvida, command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]
):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    result = dimvida(*command(tmp_path / "out")[3:])
    assert result.code == 0, result.err
    assert re.search(r"^done: 36 views of 12 objects", result.out, re.MULTILINE)


def test_ranks_whose_variables_are_missing(dimvida, command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    result = dimvida(*command(tmp_path / "out")[3:])
    assert result.code == 2
    assert len(result.err.splitlines()) == 1 and "RANK and MASTER_ADDR and MASTER_PORT are missing" in result.err
