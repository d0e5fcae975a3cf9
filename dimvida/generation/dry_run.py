"""What a run would do: how long it would take, and how large its output would be. Nothing is written."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

from dimvida.generation.complete import Completer
from dimvida.generation.formats import FORMATS
from dimvida.generation.run import Generation

PROBE_ROWS = 32
"""Rows that are generated to see how long they take."""

_LINE = 750  # bytes, about, that the metadata say about a picture


@dataclass(frozen=True, slots=True)
class Forecast:
    """What is to be expected of a run.

    Attributes:
        pictures: Pictures that are written, known views included.
        seconds: For what is left, in one process on this device; None if none of the first rows can be read.
        size: Bytes of the finished output, pictures and metadata; None likewise.
        probed: Rows that the last two were measured with.
        free: Bytes that are free where the output goes.
    """

    pictures: int
    seconds: float | None
    size: int | None
    probed: int
    free: int


def forecast(generation: Generation) -> Forecast:
    """Look at a run that was not entered.

    Rows from the plan's start are read, generated and packed twice, the second time measured: the first one builds
    what later batches use again.
    """
    plan, settings = generation.plan, generation.settings
    pictures = sum(len(task.targets) + len(task.known) * settings.include_known for task in plan.tasks) * plan.draws
    rows = range(min(PROBE_ROWS, settings.batch, len(plan)))
    completer = Completer(generation.model, settings, plan)
    for _ in range(2):
        start = time.perf_counter()
        batch = generation.reader.read(rows)
        if not batch.rows:
            return Forecast(pictures, None, None, 0, _free_space(generation))
        samples = generation.packer.pack(batch.rows, batch.hashes, completer.complete(batch)().numpy())
        spent = time.perf_counter() - start
    line = _LINE * (2 if FORMATS[settings.format].joined_lines else 1)  # once for its shard, and once for all
    written = sum(memoryview(picture.data).nbytes + line for sample in samples for picture in sample.pictures)
    probed, left = len(batch.rows), sum(shard.stop - shard.start for shard in generation.pending)
    size = round(written / probed * len(plan))
    return Forecast(pictures, spent / probed * left, size, probed, _free_space(generation))


def _free_space(generation: Generation) -> int:
    place = generation.output.folder.absolute()
    while not place.exists():
        place = place.parent
    stats = os.statvfs(place)
    return stats.f_bavail * stats.f_frsize
