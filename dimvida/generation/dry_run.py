"""What a run would do: how much, how long, how large. Nothing is written."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

from dimvida.generation.run import Generation
from dimvida.generation.times import StageTimes

PROBE_ROWS = 32
"""Rows that are generated to see how long they take."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """What is to be expected of a run.

    Attributes:
        rows, objects, views: What the plan has; rows are draws of objects.
        pictures: Pictures that are written, known views included.
        shards, done: Shards in all, and how many are finished by now.
        seconds: For what is left, in one process on this device.
        size: Bytes of the finished output, pictures and metadata.
        probed: Rows that the last two were measured with; 0 if none could be read, and nothing is known.
    """

    rows: int
    objects: int
    views: int
    pictures: int
    shards: int
    done: int
    seconds: float | None
    size: int | None
    probed: int


def forecast(generation: Generation) -> Forecast:
    """Look at a run that was not entered.

    Rows from the plan's start are read, generated and packed twice, the second time measured: the first one builds
    what later batches use again.
    """
    plan, settings = generation.plan, generation.settings
    pictures = sum(len(task.targets) + len(task.known) * settings.include_known for task in plan.tasks) * plan.draws
    waiting = generation.pending
    seconds = size = None
    probed, spent, written = _probe(generation)
    if probed:
        left = sum(shard.stop - shard.start for shard in waiting)
        seconds, size = spent / probed * left, round(written / probed * len(plan))
    return Forecast(
        rows=len(plan),
        objects=len(plan.tasks),
        views=plan.views,
        pictures=pictures,
        shards=len(generation.shards),
        done=len(generation.shards) - len(waiting),
        seconds=seconds,
        size=size,
        probed=probed,
    )


def _probe(generation: Generation) -> tuple[int, float, int]:
    """Rows that were made, seconds, bytes."""
    rows = range(min(PROBE_ROWS, generation.settings.batch, len(generation.plan)))
    times = StageTimes(generation.model.device)
    completer, packer = generation.make_completer(times), generation.make_packer()
    made, seconds, written = 0, 0.0, 0
    for _ in range(2):
        start = time.perf_counter()
        given = generation.reader.read(rows)
        if not given.rows:
            return 0, 0.0, 0
        views = completer.complete(given).wait()
        samples = packer.pack(given, views, slice(0, len(given.rows)))
        made, seconds = len(given.rows), time.perf_counter() - start
        # A line of metadata has about this many bytes; image folders hold each of them twice.
        line = 750 * (2 if generation.settings.format == "imagefolder" else 1)
        written = sum(len(picture.data) + line for sample in samples for picture in sample.pictures)
    return made, seconds, written


def free_space(generation: Generation) -> int:
    """Bytes that are free where the output goes."""
    place = generation.output.folder.absolute()
    while not place.exists():
        place = place.parent
    stats = os.statvfs(place)
    return stats.f_bavail * stats.f_frsize
