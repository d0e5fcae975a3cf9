"""Runs ``dimvida`` in processes of its own that start at once: forked from a server that has imported torch."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from pathlib import Path

from launching import free_port
from trainings import Result

PATIENCE = 900  # seconds after which a process hangs

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["dimvida.training.run", "dimvida.cli.app"])


class Forked:
    """One command line in a process.

    Args:
        arguments: Of ``dimvida``.
        log: Where its output goes, with the suffixes ``.out`` and ``.err``.
        environment: Variables beside this process's.
    """

    def __init__(self, arguments: list[str], log: Path, **environment: str) -> None:
        self._streams = [log.with_suffix(suffix) for suffix in (".out", ".err")]
        variables = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
        self._process = _CONTEXT.Process(target=_run, args=(arguments, self._streams, variables))
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


def forked_ranks(count: int, arguments: list[str], logs: Path) -> list[Forked]:
    """Processes that work together, without an agent that ends all when one dies."""
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": str(count)}
    logs.mkdir(parents=True, exist_ok=True)
    return [Forked(arguments, logs / f"rank{rank}", RANK=str(rank), **place) for rank in range(count)]


def _run(arguments: list[str], streams: list[Path], variables: dict[str, str]) -> None:
    import torch

    from dimvida.cli.app import run

    os.environ.clear()
    os.environ.update(variables)
    torch.set_num_threads(1)
    for number, path in enumerate(streams, 1):
        os.dup2(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o644), number)
    sys.exit(run(arguments))
