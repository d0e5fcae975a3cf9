"""The distinct sets of known views in a batch, and shapes that stay the same from batch to batch.

A graph is captured for fixed shapes. A row more or less, or another number of distinct sets, must not mean another
graph; and what a batch is brought to depends on its own shape alone, so that its samples do not depend on what came
before it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dimvida.sampling.trajectory import padded, upload

FEW_MASKS = 16
"""Up to as many sets of known views there are always all of them: four views have 16."""


def fixed_rows(rows: int) -> int:
    """The rows that a batch is padded to: at most an eighth more than it has, none for small ones and powers of two."""
    if rows <= FEW_MASKS:
        return rows
    step = 1 << (rows.bit_length() - 4)
    return -(-rows // step) * step


def fixed_masks(masks: int, views: int) -> int:
    """The number that distinct masks are padded to: a power of two, but no more than there can be."""
    return min(2**views, max(FEW_MASKS, 1 << (masks - 1).bit_length()))


def distinct_masks(known: Tensor, on_host: Tensor | None, held: int) -> tuple[Tensor, Tensor]:
    """The masks of a batch, their number padded, and which of them each row has.

    Args:
        known: bool [B, V].
        on_host: The same on the CPU, if the caller had it there: then nothing waits for the device.
        held: Masks that a time table can hold for all evaluations; padding does not go beyond it unless the masks do.

    Returns:
        bool [masks, V] and int64 [B].
    """
    views = known.shape[1]
    if 2**views <= min(FEW_MASKS, held):
        places = torch.arange(views, device=known.device)
        masks = (torch.arange(2**views, device=known.device)[:, None] >> places) & 1
        return masks.bool(), (known.long() << places).sum(1)
    masks, mask = torch.unique(known.cpu() if on_host is None else on_host, dim=0, return_inverse=True)
    count = fixed_masks(len(masks), views)
    if not len(masks) <= held < count:
        masks = padded(masks, count)
    return upload(masks, known.device), upload(mask, known.device)
