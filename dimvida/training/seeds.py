"""Randomness of training as a pure function of (seed, purpose, number).

No generator state has to be saved: a resumed run draws at step k exactly what an uninterrupted one draws.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


def derived_seed(seed: int, purpose: str, number: int = 0) -> int:
    """A 63-bit seed for one use."""
    digest = hashlib.blake2b(f"{seed}\0{purpose}\0{number}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def derived_generator(seed: int, purpose: str, number: int = 0) -> torch.Generator:
    """A CPU generator for one use."""
    return torch.Generator().manual_seed(derived_seed(seed, purpose, number))


@contextmanager
def seeded(seed: int, device: torch.device | None = None) -> Iterator[Callable[[int], object]]:
    """Seed the global generators of the CPU and, if given, of a GPU for code that draws from nothing else.

    Afterwards they are as they were. Yields a function that seeds the CPU's anew.
    """
    gpu = device is not None and device.type == "cuda"
    # Not torch.manual_seed, which would also seed the generators of every GPU.
    reseed = torch.random.default_generator.manual_seed
    with torch.random.fork_rng(devices=[device] if gpu else []):
        reseed(seed)
        if gpu:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield reseed


class BatchOrder:
    """Shuffled batches over ``items``, every item once an epoch; batch k is known without the ones before it.

    Args:
        items: Size of the data set.
        batch: Items per batch; the last one of an epoch may be smaller.
        seed: Base seed of the training.
        purpose: Separates the orders of different stages.
    """

    def __init__(self, items: int, batch: int, seed: int, purpose: str) -> None:
        self.items, self.batch, self.seed, self.purpose = items, batch, seed, purpose
        self.batches_per_epoch = -(-items // batch)
        self._epoch, self._permutation = -1, torch.empty(0, dtype=torch.int64)

    def indices(self, step: int) -> Tensor:
        """int64 indices of the batch of a step, counted from 0 over all epochs."""
        epoch, position = divmod(step, self.batches_per_epoch)
        if epoch != self._epoch:
            generator = derived_generator(self.seed, f"{self.purpose}/order", epoch)
            self._epoch, self._permutation = epoch, torch.randperm(self.items, generator=generator)
        return self._permutation[position * self.batch : (position + 1) * self.batch]
