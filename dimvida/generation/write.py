"""Samples to shards, and what came of each shard to its stats, which declare it finished."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from dimvida.generation.formats import FORMATS, remove_shard
from dimvida.generation.formats.base import Sample, ShardWriter
from dimvida.generation.output import OutputFolder, output_errors
from dimvida.generation.pipeline import StageTimes
from dimvida.generation.plan import Shard
from dimvida.generation.read import ReadBatch
from dimvida.generation.stats import ShardStats


class OutputWriter:
    """Writes batches to one shard after another.

    Args:
        output: The folder that they go to.
        shape: [H, W, C] of every picture.
        suffix: Suffix of image files, with the dot.
        times: Where the time of ``write`` is counted.
        on_shard: Called with the number of each shard that is finished.
    """

    def __init__(
        self,
        output: OutputFolder,
        shape: tuple[int, int, int],
        suffix: str,
        times: StageTimes,
        on_shard: Callable[[int], object],
    ) -> None:
        self._output, self._shape, self._suffix, self._times, self._on_shard = output, shape, suffix, times, on_shard
        self._writer: ShardWriter | None = None
        self._stats: ShardStats | None = None

    def write(self, shard: Shard, rows: range, batch: ReadBatch, parts: Iterable[Sequence[Sample]]) -> None:
        """Write a batch; if it is the last one of its shard, that is finished.

        Args:
            shard: The shard that it belongs to.
            rows: Its rows of the plan, also those that could not be read.
            batch: What could be read.
            parts: Its samples in order, as they become ready.
        """
        for samples in parts:
            with self._times.host("write"):
                self._add(shard, samples)
        with self._times.host("write"):
            if self._stats is None:
                self._stats = ShardStats(shard.number, self._output.hash, shard.stop - shard.start)
            self._stats.count(batch)
            if rows.stop == shard.stop:
                self._finish(shard, self._stats)

    def abort(self) -> None:
        """Leave the shard at hand unfinished."""
        if self._writer is not None:
            self._writer.abort()
        self._writer = self._stats = None

    def _add(self, shard: Shard, samples: Sequence[Sample]) -> None:
        folder = self._output.folder
        with output_errors(folder):
            if self._writer is None:
                self._writer = FORMATS[self._output.form](folder, shard.stem, self._shape, self._suffix)
            for sample in samples:
                self._writer.add(sample)

    def _finish(self, shard: Shard, stats: ShardStats) -> None:
        self._output.check_there()
        with output_errors(self._output.folder):
            if self._writer is None:  # not a single input could be read
                remove_shard(self._output.folder, shard.stem)
            else:
                stats.files = self._writer.commit()
        self._output.add(stats)
        self._writer = self._stats = None
        self._on_shard(shard.number)
