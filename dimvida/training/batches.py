"""What a stage minimises, as the loop asks for it, and its batches, drawn in place or by workers ahead of the steps."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from dimvida.errors import DimvidaError
from dimvida.interruption import SIGNALS, die_with_parent
from dimvida.sampling.backends import default_dtype
from dimvida.torchrun import local_processes
from dimvida.training.ranks import Ranks, Share
from dimvida.training.seeds import BatchOrder

DrawnBatch = tuple[Share, dict[str, Tensor]]

MOST_WORKERS = 8
LARGEST_SHARE = 0.5  # of a GPU's free memory, that data may take
VALIDATION_BATCH = 256  # held-out items at a time
BATCHES_AHEAD = 4  # batches that each worker may be ahead


class Objective(Protocol):
    """One stage's data and loss."""

    name: str
    network: nn.Module
    items: int
    device: torch.device
    draws_slowly: bool  # so that worker processes should do it

    def draw(self, indices: Tensor, seed: int, step: int, rows: slice) -> dict[str, Tensor]:
        """What the loss needs, on the CPU, of some rows of a batch.

        It depends on the arguments alone. Random numbers are drawn for the whole batch and then cut, so that a row
        gets the same ones however many processes divide the batch.

        Args:
            indices: Rows of the data set that the whole batch has, int64 [N].
            seed: Base seed of the run.
            step: Counted from 0.
            rows: Which of ``indices`` this process computes.
        """
        ...

    def loss(self, share: Share, **batch: Tensor) -> Tensor:
        """Mean loss, a scalar, over the rows that were drawn; ``batch`` is on the device."""
        ...

    def validate(self, network: nn.Module) -> dict[str, float]:
        """Figures on held-out data with the given (averaged) weights; the first is ``loss``."""
        ...


def product_dtype(autocast: str, device: torch.device, preferred: bool = True) -> torch.dtype:
    """What the products of an objective are in, float32 or bfloat16.

    Args:
        autocast: The stage's option: ``bfloat16``, ``off``, or ``auto``.
        device: For ``auto`` bfloat16 where it multiplies that natively ...
        preferred: ... and the network is better off with it.
    """
    low = autocast == "bfloat16" or (autocast == "auto" and preferred and default_dtype(device) == torch.bfloat16)
    return torch.bfloat16 if low else torch.float32


@dataclass(frozen=True, slots=True)
class Draws:
    """What a stage draws, step by step, for this process's rows."""

    objective: Objective
    order: BatchOrder
    seed: int
    ranks: Ranks

    def batch(self, step: int) -> DrawnBatch:
        """This process's part of the batch of a step, and what is drawn for it."""
        indices = self.order.indices(step)
        share = self.ranks.share(len(indices))
        return share, self.objective.draw(indices, self.seed, step, share.rows)


@contextmanager
def feed(draws: Draws, steps: range, workers: int) -> Iterator[Iterator[DrawnBatch]]:
    """The batches of these steps, in order; the same for any number of workers.

    Args:
        draws: Draws each of them.
        steps: Counted from 0.
        workers: Processes that draw ahead; 0 to draw each batch when it is asked for.

    Raises:
        DimvidaError: A worker was killed.
    """
    if not workers or not steps:
        yield map(draws.batch, steps)
        return
    # Forked, so that they share the images; a worker computes nothing that a fork may not.
    context = multiprocessing.get_context("fork")
    pool = ProcessPoolExecutor(workers, context, _begin_worker, (draws,))
    try:
        yield _ahead(pool, steps, BATCHES_AHEAD * workers)
    except BrokenProcessPool:
        raise DimvidaError(
            "a process that augments images was killed, as where memory is short; what was saved before is whole: go "
            "on from it, with more memory or fewer --workers"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def default_workers(objective: Objective) -> int:
    """Workers where nothing else was said: those that leave the training its cores."""
    if not objective.draws_slowly:
        return 0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(MOST_WORKERS, cores // (2 * local_processes())))


def _ahead(pool: ProcessPoolExecutor, steps: range, depth: int) -> Iterator[DrawnBatch]:
    waiting: deque[Future[tuple[Share, dict[str, np.ndarray]]]] = deque()
    rest = iter(steps)
    for _ in steps:
        while len(waiting) < depth and (step := next(rest, None)) is not None:
            waiting.append(pool.submit(_draw, step))
        share, batch = waiting.popleft().result()
        yield share, {name: torch.from_numpy(array) for name, array in batch.items()}


_draws: Draws | None = None  # of a worker process


def _begin_worker(draws: Draws) -> None:
    global _draws
    _draws = draws
    torch.set_num_threads(1)
    # Signals go to whole groups of processes. The one that trains decides, and needs its workers until then.
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    die_with_parent()  # a killed training takes its workers along, which share its lock on the folder


def _draw(step: int) -> tuple[Share, dict[str, np.ndarray]]:
    assert _draws is not None
    share, batch = _draws.batch(step)
    # As arrays: tensors would go through shared memory, of which containers have little.
    return share, {name: tensor.numpy() for name, tensor in batch.items()}


class CachedRows:
    """Rows of a data set, which a GPU keeps where they fit into its memory: a step then copies only their indices.

    Args:
        values: The rows, along the first dimension of a tensor on the CPU.
        device: The device that needs them.

    Attributes:
        resident: Whether the device has a copy of all of them.
    """

    def __init__(self, values: Tensor, device: torch.device) -> None:
        self.values = values
        self.resident = device.type == "cuda" and _fits(values, device)
        self._copy = values.to(device) if self.resident else None

    def __len__(self) -> int:
        return len(self.values)

    def for_batch(self, indices: Tensor) -> Tensor:
        """What a batch holds of the rows at indices int64 [N]: the rows, or the indices where the device has them."""
        return indices if self.resident else self.values[indices]

    def on_device(self, held: Tensor) -> Tensor:
        """The rows, on the device, of what ``for_batch`` gave once it was moved there."""
        return held if self._copy is None else self._copy[held]


def _fits(values: Tensor, device: torch.device) -> bool:
    free, _ = torch.cuda.mem_get_info(device)
    return values.numel() * values.element_size() <= LARGEST_SHARE * free
