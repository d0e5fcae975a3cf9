"""Reads ahead: chunks of rows, put together to batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch

from dimvida.generation.plan import GenerationPlan
from dimvida.generation.read import GivenBatch, read_given
from dimvida.generation.shards import Shard

CHUNK = 64
"""Rows that are read at once: worth sending between processes, and little to hold."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Rows that are read at once.

    Attributes:
        shard: Where they belong.
        rows: Places in the plan.
        ends_batch, ends_shard: Whether they are the last ones of their batch and of their shard.
    """

    shard: Shard
    rows: range
    ends_batch: bool
    ends_shard: bool


@dataclass(frozen=True, slots=True)
class ReadBatch:
    """A batch as it was read.

    Attributes:
        shard: Where it belongs.
        views: Views to generate for its rows, also for those that could not be read.
        given: The rows that could be read.
        ends_shard: Whether it is the last one of its shard.
    """

    shard: Shard
    views: int
    given: GivenBatch
    ends_shard: bool


def pieces(shards: Iterable[Shard], batch: int) -> Iterator[Piece]:
    """The chunks of some shards in order."""
    for shard in shards:
        for rows in shard.batches(batch):
            for start in range(rows.start, rows.stop, CHUNK):
                chunk = range(start, min(start + CHUNK, rows.stop))
                ends_batch = chunk.stop == rows.stop
                yield Piece(shard, chunk, ends_batch, ends_batch and rows.stop == shard.stop)


class ChunkReader:
    """Reads one piece after another; goes to other processes as it is.

    Args:
        plan: What is completed.
        image_size: Edge in pixels.
        strict: Refuse images of another size.
        channels: 3 for RGB, 1 for gray.
    """

    def __init__(self, plan: GenerationPlan, image_size: int, strict: bool, channels: int = 3) -> None:
        self.plan, self._image_size, self._strict, self._channels = plan, image_size, strict, channels

    def read(self, rows: range) -> GivenBatch:
        """See ``read_given``."""
        chosen = [self.plan.row(place) for place in rows]
        return read_given(self.plan, chosen, self._image_size, channels=self._channels, strict=self._strict)


def read_batches(plan: GenerationPlan, read: Iterable[tuple[Piece, GivenBatch]]) -> Iterator[ReadBatch]:
    """Put pieces together to batches."""
    waiting: list[tuple[Piece, GivenBatch]] = []
    for item in read:
        waiting.append(item)
        piece = item[0]
        if piece.ends_batch:
            views = plan.views_of(range(waiting[0][0].rows.start, piece.rows.stop))
            yield ReadBatch(piece.shard, views, _joined([given for _, given in waiting]), piece.ends_shard)
            waiting.clear()


def _joined(parts: list[GivenBatch]) -> GivenBatch:
    if len(parts) == 1:
        return parts[0]
    notes: dict[str, list[str]] = {}
    for part in parts:
        for text, files in part.notes.items():
            notes.setdefault(text, []).extend(files)
    return GivenBatch(
        rows=tuple(row for part in parts for row in part.rows),
        views=torch.cat([part.views for part in parts]),
        known=torch.cat([part.known for part in parts]),
        hashes=tuple(hashes for part in parts for hashes in part.hashes),
        skipped=tuple(file for part in parts for file in part.skipped),
        notes=notes,
    )
