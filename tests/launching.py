"""Starts ``dimvida`` in processes of its own: several that work together, and such as end or stop at a given shard."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping

AT_SHARD = """
import signal, sys, threading
from dimvida.generation.run import Generation

left, number, finished = int(sys.argv.pop(1)), int(sys.argv.pop(1)), Generation._finished

def signal_itself(self, shard):
    global left
    finished(self, shard)
    left -= 1
    if left == 0:
        signal.pthread_kill(threading.get_ident(), number)

Generation._finished = signal_itself
from dimvida.cli.app import main
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


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start_ranks(
    count: int, arguments: list[str], dying: Mapping[int, int] | None = None
) -> list[subprocess.Popen[str]]:
    """Ranks as a cluster's own launcher starts them, without an agent that ends all when one dies.

    Args:
        count: How many.
        arguments: Of the command.
        dying: Rank -> how many shards it finishes before it is killed.
    """
    dying = dying or {}
    common = os.environ | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": str(count)}
    return [
        subprocess.Popen(
            at_shard(dying[rank], signal.SIGKILL, arguments)
            if rank in dying
            else [sys.executable, "-m", "dimvida", *arguments],
            env=common | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(count)
    ]
