"""Processes that torchrun, or whatever sets the same environment variables, started together."""

from __future__ import annotations

import contextlib
import datetime
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from dimvida import interruption
from dimvida.errors import DimvidaError, FailedOnAnotherRank, InputError

if TYPE_CHECKING:
    import torch.distributed as dist

T = TypeVar("T")

# Until all processes are there. One that died before that is noticed by nothing else.
LONGEST_MEETING = datetime.timedelta(minutes=5)

# While rank 0 reads, checks or encodes a lot, the others wait. A rank that dies is noticed at once all the same.
LONGEST_WAIT = datetime.timedelta(hours=12)

_NEEDED = ("RANK", "MASTER_ADDR", "MASTER_PORT")


def is_rank() -> bool:
    """Whether this process is one of several; a ``WORLD_SIZE`` of 1, as one-replica pods set it, is a process alone.

    Raises:
        InputError: ``WORLD_SIZE`` is not a number of processes.
    """
    count = os.environ.get("WORLD_SIZE", "").strip()
    if not count:
        return False
    if not _is_number(count) or int(count) < 1:
        raise InputError(f"WORLD_SIZE={count} in the environment: must be the number of processes; unset it for one")
    return int(count) > 1


def local_processes() -> int:
    """How many processes of this work run on this machine, as far as the environment says; at least 1."""
    count = os.environ.get("LOCAL_WORLD_SIZE", "").strip()
    return max(1, int(count)) if _is_number(count) and is_rank() else 1


def meet(backend: str) -> dist.Store:
    """Meet the other processes; afterwards the default process group is there, and waits ``LONGEST_WAIT``.

    Args:
        backend: Name of a backend of ``torch.distributed``, such as ``gloo`` or ``nccl``.

    Returns:
        What all of them can reach without meeting.

    Raises:
        InputError: A variable that says where and who is missing or makes no sense.
        DimvidaError: Not all came within ``LONGEST_MEETING``.
    """
    import torch
    import torch.distributed as dist

    _check_variables()
    try:
        store, rank, count = next(iter(dist.rendezvous("env://", timeout=LONGEST_MEETING)))
        store.set_timeout(LONGEST_MEETING)
        dist.init_process_group(
            backend, store=dist.PrefixStore("group", store), rank=rank, world_size=count, timeout=LONGEST_MEETING
        )
        dist.all_reduce(torch.zeros(1))  # on the host, whatever the backend
    except (dist.DistError, RuntimeError) as error:
        if dist.is_initialized():
            dist.destroy_process_group()
        raise DimvidaError(
            f"the {os.environ['WORLD_SIZE']} processes of this work did not meet at {os.environ['MASTER_ADDR']}:"
            f"{os.environ['MASTER_PORT']}: one of them ended, never started, or cannot reach that address "
            f"({_first_line(error)}); start all of them again"
        ) from error
    # Public in newer torch only; the same function before.
    set_timeout = getattr(dist, "set_timeout", None) or dist.distributed_c10d._set_pg_timeout
    set_timeout(LONGEST_WAIT)
    return store


class RankLost(DimvidaError):
    """Another process of this work ended while this one was waiting for it."""

    def __init__(self) -> None:
        super().__init__("another process of this job ended at the start; start all of them again")


def broadcast_from_rank_0(work: Callable[[], T], everywhere: tuple[type[BaseException], ...] = ()) -> T:
    """Do some work in rank 0 only, and give its result to all ranks; all of them call this, after ``meet``.

    Args:
        work: Called in rank 0; what it returns is pickled.
        everywhere: Kinds of errors of ``work`` that all ranks raise, as one that says that all of them stop.

    Raises:
        FailedOnAnotherRank: In the other ranks, if ``work`` failed in rank 0, where its own error is raised.
        RankLost: Another process ended meanwhile.
    """
    import torch.distributed as dist

    if dist.get_rank():
        outcome, result = _broadcast([None, None])
        if outcome == "raised":
            raise result
        if outcome == "failed":
            raise FailedOnAnotherRank(result)
        return result
    try:
        result = work()
    except BaseException as error:
        code = 2 if isinstance(error, InputError) else 1  # as the command line's
        with contextlib.suppress(Exception):  # if the others are gone, this error still is the one to tell
            _broadcast(["raised", error] if isinstance(error, everywhere) else ["failed", code])
        raise
    _broadcast(["result", result])
    return result


def barrier() -> None:
    """Wait until all ranks are here; after ``meet``.

    Raises:
        RankLost: Another process ended meanwhile.
    """
    import torch.distributed as dist

    with _rank_lost():
        interruption.aside(dist.barrier)


def _broadcast(message: list[Any]) -> list[Any]:
    import torch
    import torch.distributed as dist

    with _rank_lost():
        interruption.aside(lambda: dist.broadcast_object_list(message, 0, device=torch.device("cpu")))
    return message


@contextlib.contextmanager
def _rank_lost() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # of which those of torch.distributed are a kind
        raise RankLost from error


def _check_variables() -> None:
    environment = os.environ
    missing = [name for name in _NEEDED if not environment.get(name, "").strip()]
    count = environment["WORLD_SIZE"]
    if missing:
        raise InputError(
            f"WORLD_SIZE={count} in the environment says that this is one of {count} processes, but "
            f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing; start with torchrun, or unset "
            "WORLD_SIZE for a process alone"
        )
    rank, port = environment["RANK"], environment["MASTER_PORT"]
    if not _is_number(rank) or int(rank) >= int(count):
        raise InputError(f"RANK={rank} in the environment: must be from 0 to {int(count) - 1}, as WORLD_SIZE={count}")
    if not _is_number(port) or not 0 < int(port) < 1 << 16:
        raise InputError(f"MASTER_PORT={port} in the environment: must be a port, from 1 to 65535")


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
