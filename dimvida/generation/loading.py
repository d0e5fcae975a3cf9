"""Reads ahead: chunks of rows, in this process or in others, put together to batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch.utils.data import DataLoader, Dataset

from dimvida.errors import InputError
from dimvida.generation.plan import Plan
from dimvida.generation.reading import GivenBatch, read_given
from dimvida.generation.shards import Shard

CHUNK = 64
"""Rows that are read at once: worth sending between processes, and little to hold."""
PREFETCH = 2
"""Chunks that each process reads ahead."""


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


class ChunkReader(Dataset):
    """Reads one piece after another; the data set of a DataLoader's workers.

    Args:
        plan: What is completed.
        image_size: Edge in pixels.
        strict: Refuse images of another size.
        channels: 3 for RGB, 1 for gray.
    """

    def __init__(self, plan: Plan, image_size: int, strict: bool, channels: int = 3) -> None:
        self.plan, self._image_size, self._strict, self._channels = plan, image_size, strict, channels

    def read(self, rows: range) -> GivenBatch:
        """See ``read_given``."""
        chosen = [self.plan.row(place) for place in rows]
        return read_given(self.plan, chosen, self._image_size, channels=self._channels, strict=self._strict)

    def __getitem__(self, piece: Piece) -> tuple[Piece, GivenBatch | InputError]:
        # An error is handed over as a value: a DataLoader would wrap it into another one's text.
        try:
            return piece, self.read(piece.rows)
        except InputError as error:
            return piece, InputError(str(error))


def read_pieces(reader: ChunkReader, order: Iterable[Piece], workers: int) -> Iterator[tuple[Piece, GivenBatch]]:
    """Pieces in order, read by ``workers`` processes, or by this one if that is 0.

    Processes start with the call, not with the first piece: they are forked, best before there are threads.

    Raises:
        InputError: See ``read_given``.
    """
    if not workers:
        return _unwrapped(map(reader.__getitem__, order))
    # Without a collate function of its own the DataLoader would turn what it finds into tensors of its own.
    loader = DataLoader(
        reader, sampler=order, batch_size=None, num_workers=workers, prefetch_factor=PREFETCH, collate_fn=_as_is
    )
    return _unwrapped(iter(loader))


def read_batches(plan: Plan, read: Iterable[tuple[Piece, GivenBatch]]) -> Iterator[ReadBatch]:
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


def _unwrapped(read: Iterable[tuple[Piece, GivenBatch | InputError]]) -> Iterator[tuple[Piece, GivenBatch]]:
    for piece, given in read:
        if isinstance(given, InputError):
            raise given
        yield piece, given


def _as_is(item: object) -> object:
    return item
