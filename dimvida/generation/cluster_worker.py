"""What runs on the workers of a Ray cluster: the question for the settings, and an actor that makes shards."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any, NamedTuple

import ray

from dimvida.errors import DimvidaError, InputError
from dimvida.generation.pipeline import StageTimes
from dimvida.generation.plan import Shard
from dimvida.generation.run import Generation
from dimvida.generation.settings import GenerationSettings
from dimvida.generation.trial import FindBatch, settings_with_batch
from dimvida.sampling.multiview import MultiViewModel

PATIENCE = 60.0
"""Seconds that processes of a driver or a worker that was lost may take to end, and to give back their locks."""

_POLL = 0.1  # seconds between looks at a lock

Run = tuple[list[Any], str]
"""What workers are told: a reference to the ``Generation``, in a list, and where its paths may be relative to."""


class ShardMade(NamedTuple):
    """What a worker says of a shard that is finished: its views, files that could not be read, and why, and notes."""

    number: int
    views: int
    skipped: list[tuple[str, str]]
    notes: list[str]


class ShardWorker:
    """An actor: makes shards of a run whose folder another process, the driver, has locked."""

    def take_up(self, run: Run) -> None:
        """Be ready to work on a run."""
        (reference,), place = run
        try:
            os.chdir(place)
        except OSError as error:
            raise DimvidaError(f"{place}: not there on {os.uname().nodename} ({error.strerror})") from None
        generation: Generation = ray.get(reference)
        generation.model.to(generation.settings.device)
        generation.times = StageTimes(generation.model.device)
        generation.output.open(generation.job.name, part=None, joins=True)
        self._generation = generation

    def make(self, numbers: Sequence[int]) -> Iterator[ShardMade]:
        """Make some shards, and say of each that it is finished."""
        generation, skipped, notes, views = self._generation, [], [], 0
        shards = (self._taken(generation.shards[number]) for number in numbers)
        try:
            with closing(generation.make(shards, lambda *file: skipped.append(file), notes.append)) as batches:
                for batch in batches:
                    views += batch.views
                    if batch.finished is not None:
                        yield ShardMade(batch.finished.number, views, skipped, notes)
                        skipped, notes, views = [], [], 0
        except DimvidaError as error:  # of whatever kind: not all can be sent
            kind = InputError if isinstance(error, InputError) else DimvidaError
            raise kind(str(error)) from None
        finally:
            for number in numbers:
                generation.output.lock.give_back(1 + number)

    def leave(self) -> None:
        """Give back what it has of the lock."""
        self._generation.output.close()

    def _taken(self, shard: Shard) -> Shard:
        """A shard, once no other worker has it; one that is lost to the driver may still be at it."""
        until = time.monotonic() + PATIENCE
        while not self._generation.output.lock.take(1 + shard.number):  # part 0 is the driver's
            if time.monotonic() > until:
                raise DimvidaError(f"{shard.stem}: a worker that the cluster has lost is still writing it")
            time.sleep(_POLL)
        return shard


def resolve(
    model: MultiViewModel, device: str, options: Mapping[str, Any], find_batch: FindBatch
) -> GenerationSettings:
    try:
        model.to(device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(
            f"--ray: PyTorch on {os.uname().nodename} cannot use the GPU that the cluster says it has "
            f"({str(error).partition('. ')[0]}); give --cpus-per-worker N"
        ) from None
    return settings_with_batch(model, options, find_batch)
