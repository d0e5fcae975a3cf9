"""Who works together on one output: a process alone, the ranks that torchrun started, or the members of an array job.

Process i of n does every n-th shard of the plan, so that nobody needs to ask who does what. Ranks need each other for
the start only: rank 0 looks after the folder before the others come in, and all begin when everything finished earlier
was checked. Rank 0 puts the end together when the others have left; of an array job whoever is last.
"""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch.distributed as dist

from dimvida import interruption
from dimvida.data.names import counted
from dimvida.errors import DimvidaError, FailedOnAnotherRank, InputError
from dimvida.generation.lease import require_unrenewed
from dimvida.generation.lock import FolderBusy, require_unled
from dimvida.generation.output import OutputFolder, stored_configuration
from dimvida.generation.plan import Shard
from dimvida.generation.read import CHUNK_ROWS, RowReader
from dimvida.generation.stats import GenerationReport, fail_empty
from dimvida.generation.storage import Place, RemotePath
from dimvida.generation.verify import recheck_files, recheck_inputs
from dimvida.torchrun import barrier, broadcast_from_rank_0, is_rank, meet

_POLL = 0.2  # seconds between looks at processes that are awaited
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Job:
    """This process among those of its job; by default it is alone.

    Attributes:
        name: The same for all processes of the job, and for no other job.
        rank, count: Which process of how many.
        array: Whether they are the members of an array job, which never meet.
        patience: Seconds that what a lost process has left at work in the folder is waited for.
    """

    name: str
    rank: int = 0
    count: int = 1
    array: bool = False
    patience: float = 0

    def own(self, shards: Sequence[Shard]) -> list[Shard]:
        """The shards that this process checks and makes."""
        return [shard for shard in shards if shard.number % self.count == self.rank]

    @property
    def meets(self) -> bool:
        """Whether its processes met at the start."""
        return self.count > 1 and not self.array

    @property
    def speaks(self) -> bool:
        """Whether this process tells of what is done."""
        return self.rank == 0 or self.array

    def broadcast_from_rank_0(self, work: Callable[[], T]) -> T:
        """What ``work`` returns in rank 0, for all processes that met; for one that met no others, its own.

        Raises:
            DimvidaError: In the other ranks, if ``work`` failed in rank 0; or another process ended meanwhile.
        """
        try:
            return broadcast_from_rank_0(work) if self.meets else work()
        except FailedOnAnotherRank as error:
            raise DimvidaError("rank 0 could not start, and says why") from error

    def open(self, output: OutputFolder, reader: RowReader) -> list[str]:
        """Lock the folder for this job, and read again whatever of it is said to be finished.

        Returns:
            What is wrong with that, one line each; it is finished no more.

        Raises:
            InputError: Not a single input can be read, one of a finished shard has changed, or another run is at work
                in the folder.
            DimvidaError: Another process ended, or could not start.
        """

        until = time.monotonic() + self.patience

        def lock() -> None:
            while True:
                try:
                    with interruption.held():
                        return output.open(self.name, self.rank)
                except FolderBusy as busy:
                    if busy.led or time.monotonic() > until:
                        raise
                time.sleep(_POLL)

        def begin() -> None:
            if output.overwrite or stored_configuration(output.folder) is None:
                _require_readable(reader)  # before anything is made or removed
            lock()

        try:
            self.broadcast_from_rank_0(begin)
            if self.meets and self.rank:
                lock()
            damaged = []
            for shard in self.own(output.shards):
                damaged += recheck_files(output, shard)
                damaged += recheck_inputs(output, shard, reader)
            if self.meets:
                barrier()
            return damaged
        finally:
            if self.meets:  # from here on nobody waits for this process
                dist.destroy_process_group()

    def finish(
        self, output: OutputFolder, draw: Callable[[], bytes], waiting: Callable[[], object]
    ) -> GenerationReport | None:
        """Put the end of the output together, once this process has made all of its shards, within ``held``.

        Args:
            output: The output, whose shards of this process are all finished.
            draw: Makes the picture of its card, a PNG file.
            waiting: Called now and then while other processes are awaited.

        Returns:
            What the whole output has; None where that is another process's business.

        Raises:
            DimvidaError: Other ranks ended without having made theirs.
        """
        if (self.array and output.pending()) or (self.meets and self.rank):
            return None
        while not output.lock.be_alone():
            waiting()
            output.check_there()
            with interruption.let_in():
                time.sleep(_POLL)
        left = output.pending()
        if not left:
            return output.finish(draw)
        if self.array:
            return None
        raise DimvidaError(
            f"{output.folder}: {counted(len(left), 'shard')} not made by ranks that ended; the same command continues"
        )


def _require_readable(reader: RowReader) -> None:
    """Raise InputError unless some input can be read."""
    skipped, rows = [], len(reader.plan)
    for start in range(0, rows, CHUNK_ROWS):
        batch = reader.read(range(start, min(start + CHUNK_ROWS, rows)))
        if batch.rows:
            return
        skipped += batch.skipped
    fail_empty(skipped)


def alone(patience: float = 0) -> Job:
    """A job of this process only, with the patience for what is left of another run to end."""
    return Job(uuid.uuid4().hex, patience=patience)


def look_out(place: Place) -> Callable[[], None]:
    """A look at an output that is not opened yet, for whoever waits for something else before that is done.

    Returns:
        Raises FolderBusy, the first or a later time, if the first process of another run is at work there.
    """
    seen = None

    def look() -> None:
        nonlocal seen
        if isinstance(place, RemotePath):
            seen = require_unrenewed(place, seen)
        else:
            require_unled(place)

    return look


def array_member(text: str) -> Job:
    """Member ``i/n`` of an array job: does every n-th shard, and needs no other member.

    Raises:
        InputError: The text is not of this form.
    """
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if not match or not int(match[1]) < int(match[2]):
        raise InputError(f"--shard {text}: give i/n with i from 0 to n - 1, as 0/8 for the first of eight")
    rank, count = int(match[1]), int(match[2])
    return Job(f"array of {count}", rank, count, array=True)


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
