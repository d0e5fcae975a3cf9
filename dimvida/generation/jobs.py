"""Who works together on one output: a process alone, the ranks that torchrun started, or the members of an array job.

Shards are claimed by locks in the output folder, so processes need each other for the start only: rank 0 looks after
the folder before the others come in, and all begin when everything finished earlier was checked.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch.distributed as dist

from dimvida import interruption
from dimvida.errors import DimvidaError, FailedOnAnotherRank, InputError
from dimvida.generation.lock import FileLock
from dimvida.generation.output import OutputFolder, output_errors
from dimvida.generation.plan import Shard
from dimvida.torchrun import barrier, broadcast_from_rank_0, is_rank, meet

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Job:
    """This process among those of its job; by default it is alone.

    Attributes:
        name: The same for all processes of the job, and for no other job.
        rank, count: Which process of how many.
        steals: Whether a process that is done takes over what nobody works on.
    """

    name: str
    rank: int = 0
    count: int = 1
    steals: bool = True

    def own(self, shards: Sequence[Shard]) -> list[Shard]:
        """The shards that this process checks and begins with."""
        return [shard for shard in shards if shard.number % self.count == self.rank]

    def order(self, shards: Sequence[Shard]) -> list[Shard]:
        """The shards that this process may work on, its own first."""
        own = self.own(shards)
        if not self.steals:
            return own
        return own + [shard for shard in shards if shard.number % self.count != self.rank]

    @property
    def meets(self) -> bool:
        """Whether its processes met at the start; members of an array job never do."""
        return self.count > 1 and self.steals

    def broadcast_from_rank_0(self, work: Callable[[], T]) -> T:
        """What ``work`` returns in rank 0, for all processes that met; for one that met no others, its own.

        Raises:
            DimvidaError: In the other ranks, if ``work`` failed in rank 0; or another process ended meanwhile.
        """
        try:
            return broadcast_from_rank_0(work) if self.meets else work()
        except FailedOnAnotherRank as error:
            raise DimvidaError("rank 0 could not start, and says why") from error

    def wait_for_all(self) -> None:
        """Wait until every process of the job is here.

        Raises:
            DimvidaError: One of them ended.
        """
        if self.meets:
            barrier()

    def leave(self) -> None:
        """From here on nobody waits for this process."""
        if self.meets:
            dist.destroy_process_group()


class ShardClaims:
    """The shards of an output that this process works on, each of them locked until it is finished.

    Args:
        output: The output, whose folder is open while shards are taken.
        job: This process among those of its job.
    """

    def __init__(self, output: OutputFolder, job: Job) -> None:
        self._output = output
        self._order = job.order(output.shards)
        self._claims: dict[int, FileLock] = {}
        self._taken: set[int] = set()

    def left(self) -> bool:
        """Whether something that this process may work on is not finished, by whomever."""
        return not all(map(self._output.has, self._order))

    def done_by_others(self) -> list[Shard]:
        """Shards that are finished, and were not taken here."""
        return [shard for shard in self._output.shards if shard.number not in self._taken and self._output.has(shard)]

    def take(self, stopping: Callable[[], bool]) -> Iterator[Shard]:
        """Shards that nobody has finished or works on; each is this process's once it is asked for."""
        for shard in self._order:
            if stopping():
                return
            if self._output.has(shard):
                continue
            claim = self._output.claim(shard)
            with output_errors(self._output.folder):
                if not claim.acquire():
                    continue
            if self._output.has(shard):
                claim.release()
                continue
            self._claims[shard.number] = claim
            self._taken.add(shard.number)
            yield shard

    def give_back(self, number: int) -> None:
        """A shard is finished."""
        self._claims.pop(number).release()

    def give_back_all(self) -> None:
        """Let others work on what was not finished here."""
        for claim in self._claims.values():
            claim.release()
        self._claims.clear()


def alone() -> Job:
    """A job of this process only."""
    return Job(uuid.uuid4().hex)


def array_member(text: str) -> Job:
    """Member ``i/n`` of an array job: does every n-th shard, and needs no other member.

    Raises:
        InputError: The text is not of this form.
    """
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if not match or not int(match[1]) < int(match[2]):
        raise InputError(f"--shard {text}: give i/n with i from 0 to n - 1, as 0/8 for the first of eight")
    rank, count = int(match[1]), int(match[2])
    return Job(f"array of {count}", rank, count, steals=False)


def job_of(shard: str | None) -> Job:
    """The job that the options and torchrun's variables say.

    Raises:
        InputError: They contradict each other, or a variable is missing.
        DimvidaError: Not all processes came within minutes.
    """
    ranks = is_rank()
    if shard is not None:
        if ranks:
            raise InputError(f"--shard {shard}: torchrun divides the work itself; use one of the two")
        return array_member(shard)
    if not ranks:
        return alone()
    # Only to meet at the start, on the host: what is generated is never sent.
    interruption.aside(lambda: meet("gloo"))
    name = broadcast_from_rank_0(lambda: uuid.uuid4().hex)
    return Job(name, dist.get_rank(), dist.get_world_size())
