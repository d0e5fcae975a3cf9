"""Which views are known, and the multi-time vector that tells the network (DiMViDA, section III)."""

from __future__ import annotations

import torch
from torch import Tensor


def multi_time(t: Tensor | float, known: Tensor) -> Tensor:
    """tau(M, t) = t * [1(v in M)]: every missing view at time t, every known view at time 0.

    Args:
        t: One time, or one per row [B].
        known: bool [B, V].

    Returns:
        float32 [B, V].
    """
    missing = (~known).float()
    if isinstance(t, Tensor):
        return missing * t.to(missing)[:, None]
    return missing * t


def random_known(batch: int, views: int, drop: float, generator: torch.Generator | None = None) -> Tensor:
    """Random known sets for training, one per row.

    With probability ``drop`` nothing is known; otherwise the set is uniform over the non-empty proper subsets.

    Args:
        batch: Rows B.
        views: Views V, from 2 to 62.
        drop: Probability d of an empty set, in [0, 1].
        generator: Source of randomness on the CPU.

    Returns:
        bool [B, V], on the CPU; at least one view of each row is missing.
    """
    # The proper non-empty subsets are the numbers 1 .. 2^V - 2 read as bits.
    subset = torch.randint(1, 2**views - 1, (batch,), generator=generator)
    dropped = torch.rand(batch, generator=generator) < drop
    subset = subset.masked_fill(dropped, 0)
    return (subset[:, None] >> torch.arange(views)) & 1 == 1
