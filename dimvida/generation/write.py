"""The writer's end of the pipeline: samples to shards, and what came of each shard to its stats."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from dimvida.generation.formats import FORMATS, remove_shard
from dimvida.generation.formats.base import Sample, ShardWriter
from dimvida.generation.loading import ReadBatch
from dimvida.generation.output import OutputFolder, naming
from dimvida.generation.stats import ShardStats


class WriterStage:
    """Writes one shard after another.

    Args:
        output: Where.
        form: Name of the form.
        shape: [H, W, 3] of every picture.
        suffix: Of image files, with the dot.
        on_batch: Called with the number of views that a written batch was to have.
        on_shard: Called with the number of each shard that is finished.
    """

    def __init__(
        self,
        output: OutputFolder,
        form: str,
        shape: tuple[int, int, int],
        suffix: str,
        *,
        on_batch: Callable[[int], object],
        on_shard: Callable[[int], object],
    ) -> None:
        self._output, self._form, self._shape, self._suffix = output, form, shape, suffix
        self._on_batch, self._on_shard = on_batch, on_shard
        self._writer: ShardWriter | None = None
        self._stats: ShardStats | None = None

    def add(self, batch: ReadBatch, samples: list[Sample]) -> None:
        """Write samples of a batch."""
        with naming(self._output.folder):
            if self._writer is None:
                self._writer = FORMATS[self._form](self._output.folder, batch.shard.stem, self._shape, self._suffix)
            for sample in samples:
                self._writer.add(sample)

    def end(self, batch: ReadBatch) -> None:
        """All samples of a batch were added; if it ends its shard, that is finished."""
        self._stats = self._counted(batch)
        if batch.ends_shard:
            self._commit(batch)
        self._on_batch(batch.views)

    def abort(self) -> None:
        """Leave the shard at hand unfinished."""
        if self._writer is not None:
            self._writer.abort()
        self._writer = self._stats = None

    def _commit(self, batch: ReadBatch) -> None:
        assert self._stats is not None
        self._output.check_there()
        with naming(self._output.folder):
            if self._writer is None:  # not a single input could be read
                remove_shard(self._output.folder, batch.shard.stem)
                files = []
            else:
                files = self._writer.commit()
        self._output.add(dataclasses.replace(self._stats, files=files))
        self._writer = self._stats = None
        self._on_shard(batch.shard.number)

    def _counted(self, batch: ReadBatch) -> ShardStats:
        shard, given = batch.shard, batch.given
        stats = self._stats or ShardStats(shard.number, self._output.hash, shard.stop - shard.start, 0, 0, [])
        notes = dict(stats.notes)
        for text, files in given.notes.items():
            count, first = notes.get(text, (0, files[0]))
            notes[text] = count + len(files), first
        return dataclasses.replace(
            stats,
            objects=stats.objects + sum(row.draw == 0 for row in given.rows),
            views=stats.views + sum(len(row.task.targets) for row in given.rows),
            skipped=stats.skipped + [dataclasses.asdict(file) for file in given.skipped],
            notes=notes,
        )
