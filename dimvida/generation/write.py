"""One shard, from its first batch to its stats, which declare it finished."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import NamedTuple

import numpy as np
from torch import Tensor

from dimvida.generation.formats import remove_shard
from dimvida.generation.formats.base import LaidOut, ShardWriter
from dimvida.generation.output import OutputFolder
from dimvida.generation.pack import Packer
from dimvida.generation.pipeline import Pipeline, StageTimes
from dimvida.generation.plan import Shard
from dimvida.generation.read import ReadBatch
from dimvida.generation.stats import ShardStats
from dimvida.generation.storage import output_errors

PACKED_ROWS = 32
"""Rows that a thread of the pool packs at once."""


class Packing(NamedTuple):
    """A batch that is being packed: what is written, uint8 [N, H, W, C], and its parts in order."""

    pictures: Future[np.ndarray]
    parts: list[Future[LaidOut]]


class ShardInProgress:
    """A shard whose batches are packed by several threads at once, written by one in their order, finished by another.

    Args:
        shard: The rows of the plan that are written.
        output: The folder that it goes to.
        packer: Packs its rows.
        times: Where the time of ``pack`` and ``write`` is counted.
    """

    def __init__(self, shard: Shard, output: OutputFolder, packer: Packer, times: StageTimes) -> None:
        self.shard = shard
        self._output, self._packer, self._times = output, packer, times
        self._writer: ShardWriter | None = None
        self._stats = ShardStats(shard.number, output.hash, shard.stop - shard.start)
        self._pictures = 0  # of all batches so far

    def pack(self, batch: ReadBatch, pictures: Callable[[], Tensor], pipeline: Pipeline) -> Packing:
        """Have a batch of at least one row packed, once its pictures have arrived. In the calling thread."""
        if self._writer is None:
            with output_errors(self._output.folder):
                self._writer = self._packer.open(self.shard, self._output.folder, self._output.configuration)
        packing, place = Packing(pipeline.pack(lambda: pictures().numpy()), []), 0
        for start in range(0, len(batch.rows), PACKED_ROWS):
            rows = slice(start, start + PACKED_ROWS)
            stop = place + sum(map(self._packer.pictures_of, batch.rows[rows]))
            part = pipeline.pack(
                self._lay_out, batch, rows, packing.pictures, slice(place, stop), self._pictures + place
            )
            packing.parts.append(part)
            place = stop
        self._pictures += place
        return packing

    def _lay_out(
        self, batch: ReadBatch, rows: slice, pictures: Future[np.ndarray], places: slice, first: int
    ) -> LaidOut:
        """Some rows as they are written, and the number of their first picture. In one of the packing threads."""
        arrived = pictures.result()
        with self._times.host("pack"), output_errors(self._output.folder):
            samples = self._packer.pack(batch.rows[rows], batch.hashes[rows], arrived[places])
            return self._writer.lay_out(samples, first)

    def write(self, batch: ReadBatch, packing: Packing | None) -> None:
        """Write a batch. In the writing thread.

        Args:
            batch: The known views of those rows that could be read, and which files could not.
            packing: What is made of it, None of nothing.
        """
        if packing is not None:
            pictures = packing.pictures.result()
            with self._times.host("write"), output_errors(self._output.folder):
                self._writer.add(pictures, map(self._arrived, packing.parts))
        with self._times.host("write"):
            self._stats.count(batch)

    def _arrived(self, part: Future[LaidOut]) -> LaidOut:
        """A part once it is laid out; the time of waiting for it is none of ``write``."""
        begin = time.perf_counter()
        try:
            return part.result()
        finally:
            self._times.add("write", begin - time.perf_counter())

    def finish(self) -> None:
        """Force it to disk and declare it finished, when all batches are written. In the finishing thread."""
        with self._times.host("write"):
            self._output.check_there()
            with output_errors(self._output.folder):
                if self._writer is None:  # not a single input could be read
                    remove_shard(self._output.folder, self.shard.stem)
                else:
                    self._stats.files = self._writer.commit()
            self._output.add(self._stats)
        self._writer = None

    def abort(self) -> None:
        """Leave it unfinished; nothing where it is finished."""
        if self._writer is not None:
            self._writer.abort()
            self._writer = None
