"""Which views are known, and the multi-time vector that tells the network (DiMViDA, section III)."""

from __future__ import annotations

import torch
from torch import Tensor

VIEW_LIMIT = 62
"""Most views of which known ones are drawn: sets of views are drawn as numbers of 64 bits."""


def multi_time(t: Tensor | float, known: Tensor) -> Tensor:
    """tau(M, t) = t * [1(v in M)]: every missing view at time t, every known view at time 0.

    Args:
        t: One time, or one per row [B].
        known: bool [B, V].

    Returns:
        float32 [B, V].
    """
    missing = (~known).float()
    return missing * (t.to(missing)[:, None] if isinstance(t, Tensor) else t)


def random_known(
    batch: int,
    views: int,
    drop: float,
    generator: torch.Generator | None = None,
    present: Tensor | None = None,
) -> Tensor:
    """Random known sets for training, one per row.

    With probability ``drop`` nothing is known; otherwise the set is uniform over the non-empty proper subsets of the
    views that are present.

    Args:
        batch: Number B of rows.
        views: Views V, from 2 to ``VIEW_LIMIT``.
        drop: Probability d of an empty set, in [0, 1].
        generator: Source of randomness on the CPU.
        present: bool [B, V] on the CPU, at least two views of each row; by default all are. Rows that have all draw
            the same sets with and without it.

    Returns:
        bool [B, V], on the CPU; at least one view of each row is present and not known.
    """
    # The proper non-empty subsets of n views are the numbers 1 .. 2^n - 2 read as bits.
    subset = torch.randint(1, 2**views - 1, (batch,), generator=generator)
    dropped = torch.rand(batch, generator=generator) < drop
    if present is None or bool(present.all()):
        place = torch.arange(views)
        return _bits(subset.masked_fill(dropped, 0), place)
    counts = present.sum(1)
    others = 1 + torch.randint(2**63 - 1, (batch,), generator=generator) % (2**counts - 2)
    subset = torch.where(counts == views, subset, others)
    # Bit i stands for the i-th view that is present.
    return _bits(subset.masked_fill(dropped, 0), present.cumsum(1) - 1) & present


def _bits(numbers: Tensor, places: Tensor) -> Tensor:
    """Whether the bits of numbers [B] at places [V] or [B, V] are set, bool [B, V]; a place below 0 counts as 0."""
    return (numbers[:, None] >> places.clamp_min(0)) & 1 == 1
