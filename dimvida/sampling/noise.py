"""Noise that belongs to a sample, not to its place in a batch.

Every normal number is a pure function of (seed, sample id, draw, element), see ``dimvida.ops.philox_normal_``.
The same seed therefore gives the same noise for any batch size, order, number of processes and device.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import torch
from torch import Tensor

from dimvida import ops


def sample_id(source_id: str, draw: int = 0) -> int:
    """A 64-bit hash of a source's id and the number of the draw.

    Args:
        source_id: Id of the object within its data set.
        draw: Which of several samples of the same object, from 0.

    Returns:
        A signed 64-bit integer, as torch stores it.
    """
    digest = hashlib.blake2b(f"{source_id}\0{draw}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)


def sample_id_tensor(source_ids: Iterable[str], draw: int = 0) -> Tensor:
    """``sample_id`` of several sources: int64 [B], on the CPU."""
    return torch.tensor([sample_id(source, draw) for source in source_ids], dtype=torch.int64, device="cpu")


def start_from_noise(latents: Tensor, known: Tensor, sample_ids: Tensor, seed: Tensor) -> Tensor:
    """The state at t = 1: N(0, I) in the missing views (draw 0), the given latents in the known ones.

    Args:
        latents: float32 [B, V, D]; entries of missing views are ignored.
        known: bool [B, V].
        sample_ids: int64 [B].
        seed: int64 [1].

    Returns:
        A new float32 [B, V, D].
    """
    noise = torch.empty_like(latents)
    ops.philox_normal_(noise, sample_ids, seed, 0)
    return torch.where(known[..., None], latents, noise)
