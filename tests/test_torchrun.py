"""How processes that belong together find each other, and what happens where one never comes."""

from __future__ import annotations

import datetime
import os
import signal
import subprocess
import sys
from collections.abc import Mapping

import pytest
import torch.distributed as dist
from helpers.commands import PATIENCE, free_port

from dimvida.errors import InputError
from dimvida.torchrun import LONGEST_MEETING, LONGEST_WAIT, is_rank, local_processes, meet

WHOLE = {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}


def surround(monkeypatch: pytest.MonkeyPatch, environment: Mapping[str, str | None]) -> None:
    """Set these of torchrun's variables, and no others; None is one that is not there."""
    for name in (*WHOLE, "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
        if environment.get(name) is not None:
            monkeypatch.setenv(name, environment[name])


@pytest.mark.parametrize(
    ("environment", "several"),
    [
        ({}, False),
        (WHOLE, True),
        ({"WORLD_SIZE": "2"}, True),
        ({"WORLD_SIZE": "1"}, False),
        ({**WHOLE, "WORLD_SIZE": "1", "RANK": "0"}, False),
        ({"RANK": "0"}, False),
        ({"RANK": "0", "WORLD_SIZE": ""}, False),
    ],
)
def test_a_process_alone_is_no_rank(environment: dict[str, str], several: bool, monkeypatch: pytest.MonkeyPatch):
    surround(monkeypatch, environment)
    assert is_rank() is several


@pytest.mark.parametrize("count", ["0", "-1", "two", "1.5", "²"])
def test_a_number_of_processes_that_is_none(count: str, monkeypatch: pytest.MonkeyPatch):
    surround(monkeypatch, {**WHOLE, "WORLD_SIZE": count})
    with pytest.raises(InputError, match=f"WORLD_SIZE={count} in the environment: must be the number of processes"):
        is_rank()


@pytest.mark.parametrize(("count", "here"), [("4", 4), ("", 1), ("0", 1), ("many", 1), (None, 1)])
def test_neighbours_on_this_machine(count: str | None, here: int, monkeypatch: pytest.MonkeyPatch):
    environment = {**WHOLE, "LOCAL_WORLD_SIZE": count}
    surround(monkeypatch, environment)
    assert local_processes() == here
    surround(monkeypatch, {**environment, "WORLD_SIZE": "1"})
    assert local_processes() == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"RANK": None}, "but RANK is missing"),
        ({"MASTER_ADDR": None, "MASTER_PORT": ""}, "but MASTER_ADDR and MASTER_PORT are missing"),
        ({"RANK": "2"}, "RANK=2 in the environment: must be from 0 to 1"),
        ({"RANK": "-1"}, "RANK=-1 in the environment: must be from 0 to 1"),
        ({"MASTER_PORT": "70000"}, "MASTER_PORT=70000 in the environment: must be a port"),
        ({"MASTER_PORT": "http"}, "MASTER_PORT=http in the environment: must be a port"),
    ],
)
def test_half_of_the_variables(changes: dict[str, str | None], message: str, monkeypatch: pytest.MonkeyPatch):
    surround(monkeypatch, {**WHOLE, **changes})
    with pytest.raises(InputError, match=message):
        meet("gloo")
    assert not dist.is_initialized()


# Meets within some seconds and says how it ended, or how long it would now wait for the others.
RANK = """
import datetime, sys
import torch.distributed as dist
from dimvida import torchrun
from dimvida.errors import DimvidaError
torchrun.LONGEST_MEETING = datetime.timedelta(seconds=float(sys.argv[1]))
try:
    torchrun.meet("gloo")
    group = dist.distributed_c10d._get_default_group()
    print(group._get_backend(group._device_types[0]).options._timeout.total_seconds())
    dist.destroy_process_group()
except DimvidaError as error:
    print(type(error).__name__, error)
"""

# As far as the store, then it is gone: before the others could meet it.
DYING = """
import datetime, os, signal, sys
import torch.distributed as dist
patience = datetime.timedelta(seconds=float(sys.argv[1]))
dist.TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), 2, is_master=False, timeout=patience)
os.kill(os.getpid(), signal.SIGKILL)
"""


def start(script: str, number: int, port: int, seconds: float) -> subprocess.Popen[str]:
    variables = {**os.environ, **WHOLE, "RANK": str(number), "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", script, str(seconds)]
    return subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def answer(process: subprocess.Popen[str]) -> str:
    said, _ = process.communicate(timeout=PATIENCE)
    return said.strip()


@pytest.mark.slow
@pytest.mark.parametrize("number", [0, 1])
def test_a_rank_that_never_comes_is_not_awaited_for_hours(number: int):
    port = free_port()
    said = answer(start(RANK, number, port, 1))
    assert said.startswith(f"DimvidaError the 2 processes of this work did not meet at 127.0.0.1:{port}: ")
    assert "\n" not in said
    assert datetime.timedelta(minutes=1) < LONGEST_MEETING < datetime.timedelta(minutes=30)


@pytest.mark.slow
def test_a_rank_that_dies_at_the_door_is_not_awaited_for_hours():
    port = free_port()
    first, second = start(RANK, 0, port, 30), start(DYING, 1, port, PATIENCE)
    assert answer(first).startswith("DimvidaError the 2 processes of this work did not meet")
    assert not answer(second) and second.returncode == -signal.SIGKILL


@pytest.mark.slow
def test_those_who_met_wait_long_for_each_other():
    port = free_port()
    processes = [start(RANK, number, port, PATIENCE) for number in range(2)]
    assert [answer(process) for process in processes] == [str(LONGEST_WAIT.total_seconds())] * 2


BROADCASTING = """
import sys
import torch.distributed as dist
from dimvida.errors import DimvidaError, FailedOnAnotherRank, InputError
from dimvida.torchrun import RankLost, barrier, broadcast_from_rank_0, meet
meet("gloo")
said = [broadcast_from_rank_0(lambda: ["found by", dist.get_rank()])]
for error in (InputError("no"), DimvidaError("no"), ValueError("stop")):
    def fail():
        raise error
    try:
        broadcast_from_rank_0(fail, (ValueError,))
    except FailedOnAnotherRank as told:
        said.append(told.code)
    except Exception as raised:
        said.append(type(raised).__name__)
barrier()
if dist.get_rank() == 0:
    print(said, flush=True)
    sys.exit()
try:
    barrier()
except RankLost as error:
    said.append(str(error))
print(said)
"""


@pytest.mark.slow
def test_what_rank_0_finds_or_fails_with_reaches_all():
    port = free_port()
    first, second = (answer(process) for process in [start(BROADCASTING, number, port, 0) for number in range(2)])
    assert first == "[['found by', 0], 'InputError', 'DimvidaError', 'ValueError']"
    lost = "another process of this job ended at the start; start all of them again"
    assert second == f"[['found by', 0], 2, 1, 'ValueError', '{lost}']"
