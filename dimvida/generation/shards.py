"""The shard plan: which rows of a plan belong together on disk. It knows nothing of processes or devices."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from dimvida.errors import InputError

ROWS = 1024
"""Rows of a shard, about, unless something else is asked for."""

MOST = 1_000_000
"""Shards of an output: all of them are listed, and looked at again and again."""


@dataclass(frozen=True, slots=True)
class Shard:
    """Consecutive rows of a plan that are finished, checked and repeated together.

    Attributes:
        number: Its place among the shards.
        start, stop: Its rows of the plan.
    """

    number: int
    start: int
    stop: int

    @property
    def stem(self) -> str:
        """Name of its files without suffix."""
        return stem_of(self.number)

    def batches(self, size: int) -> Iterator[range]:
        """Its rows, ``size`` at a time. No batch reaches over the end of a shard."""
        for start in range(self.start, self.stop, size):
            yield range(start, min(start + size, self.stop))


def cut_shards(rows: int, size: int) -> tuple[Shard, ...]:
    """Shards of ``size`` rows each; the last may have fewer.

    Raises:
        InputError: There would be more than ``MOST``.
    """
    starts = range(0, rows, size)
    if rows > MOST * size:
        raise InputError(
            f"--shard-size {size}: {rows:,} rows, the draws of all objects, would be {-(-rows // size):,} shards, more "
            f"than {MOST:,}; give a larger --shard-size, or generate in parts"
        )
    return tuple(Shard(number, start, min(start + size, rows)) for number, start in enumerate(starts))


def default_shard_size(batch: int) -> int:
    """``ROWS`` or somewhat more, so that whole batches fill a shard."""
    return -(-ROWS // batch) * batch


def stem_of(number: int) -> str:
    """``shard-000012``."""
    return f"shard-{number:06d}"
