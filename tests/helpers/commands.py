"""Runs ``dimvida`` in this process, or in others, which work together, start at once, or end at a given shard."""

from __future__ import annotations

import contextlib
import io
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from dimvida.cli.app import run

PATIENCE = 900  # seconds after which a process hangs

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["dimvida.training.run", "dimvida.cli.app"])


class Result(NamedTuple):
    """One command's end."""

    code: int
    out: str
    err: str

    @property
    def errors(self) -> list[str]:
        """Lines on standard error that report an error."""
        return [line for line in self.err.splitlines() if line.startswith("error:")]

    def refusal(self) -> str:
        """What bad input ends with: exit code 2, and this one line."""
        assert self.code == 2 and "Traceback" not in self.err, self
        (line,) = self.errors
        return line


def command(*arguments: str | Path) -> Result:
    """Run a command line in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run([str(argument) for argument in arguments])
    return Result(code, out.getvalue(), err.getvalue())


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Started(subprocess.Popen):
    """One command line in a process as a shell starts it, in one thread: sums in one order, equal to the last bit.

    Args:
        arguments: Of ``dimvida``.
        environment: Variables beside this process's.
    """

    def __init__(self, *arguments: object, **environment: str) -> None:
        variables = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        super().__init__([sys.executable, "-m", "dimvida", *map(str, arguments)], env=variables, **pipes)

    @property
    def alive(self) -> bool:
        return self.poll() is None

    def finish(self) -> Result:
        """Wait for its end."""
        out, err = self.communicate(timeout=PATIENCE)
        return Result(self.returncode, out, err)


class Forked:
    """One command line in a process that starts at once: forked from a server that has imported torch.

    Args:
        arguments: Of ``dimvida``.
        log: Where its output goes, with the suffixes ``.out`` and ``.err``.
        watched: A folder, and before which access to a file of it the process is killed, 0 for none.
        environment: Variables beside this process's.
    """

    def __init__(
        self, arguments: list[str], log: Path, watched: tuple[str, int] | None = None, **environment: str
    ) -> None:
        self._streams = [log.with_suffix(suffix) for suffix in (".out", ".err")]
        variables = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
        self._process = _CONTEXT.Process(target=_run, args=(arguments, self._streams, variables, watched))
        self._process.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.is_alive()

    def send(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def finish(self) -> Result:
        """Wait for its end."""
        self._process.join(PATIENCE)
        assert not self.alive, "it hangs"
        return Result(self._process.exitcode, *(path.read_text() for path in self._streams))


def wait_until(there: Callable[[], object], *processes: Started | Forked) -> None:
    """Return when something is there; fail where a process ends without it, or hangs."""
    deadline = time.monotonic() + PATIENCE
    while not there():
        assert all(process.alive for process in processes), [process.finish() for process in processes]
        assert time.monotonic() < deadline, "it hangs"
        time.sleep(0.005)


def is_alive(pid: int) -> bool:
    """Whether a process, of whomever, is there and more of it than its exit status."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _run(arguments: list[str], streams: list[Path], variables: dict[str, str], watched: tuple[str, int] | None) -> None:
    import torch

    os.environ.clear()
    os.environ.update(variables)
    torch.set_num_threads(1)
    for number, path in enumerate(streams, 1):
        os.dup2(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o644), number)
    if watched is None:
        sys.exit(run(arguments))
    accesses = _count_accesses(*watched)
    code = run(arguments)
    print("accesses", len(accesses))
    sys.exit(code)


def _count_accesses(folder: str, last: int) -> list[str]:
    """What this process does from now on to files of a folder; it ends itself before the last of so many."""
    accesses: list[str] = []

    def watch(event: str, arguments: tuple) -> None:
        if event in ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir") and folder in str(arguments[0]):
            accesses.append(event)
            if len(accesses) == last:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)
    return accesses
