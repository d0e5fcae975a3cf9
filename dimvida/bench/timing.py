"""Repeated timing of several pieces of work, interleaved."""

from __future__ import annotations

import gc
import math
import random
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True, slots=True)
class Spread:
    """Median and quartiles of repeated measurements.

    Attributes:
        median, q1, q3: In the unit of the values.
        runs: How many values.
    """

    median: float
    q1: float
    q3: float
    runs: int

    @classmethod
    def of(cls, values: list[float]) -> Spread:
        """Quartiles by linear interpolation between the sorted values; a single value is all three."""
        if len(values) == 1:
            return cls(values[0], values[0], values[0], 1)
        q1, median, q3 = statistics.quantiles(values, n=4, method="inclusive")
        return cls(median, q1, q3, len(values))

    def scaled(self, factor: float) -> Spread:
        """The same in another unit."""
        return Spread(self.median * factor, self.q1 * factor, self.q3 * factor, self.runs)


def interleaved(
    works: Mapping[str, Callable[[], Any]],
    repeats: int,
    device: torch.device,
    progress: Callable[[str], object] = lambda name: None,
    limit: float = math.inf,
) -> dict[str, list[float]]:
    """Seconds of every run of every piece of work.

    In every round each piece runs once, in an order drawn anew: a machine that grows slower meets all alike, and
    none has always the same one before it.

    Args:
        works: What to run, warmed up.
        repeats: Rounds.
        device: Whose queue is waited for before and after each run.
        progress: Called with a name after each run.
        limit: Seconds after which no further round begins; the first one always runs.
    """
    order = random.Random(0)
    seconds: dict[str, list[float]] = {name: [] for name in works}
    began = time.perf_counter()
    with no_garbage_collection():
        for number in range(repeats):
            if number and time.perf_counter() - began >= limit:
                break
            for name in order.sample(list(works), len(works)):
                seconds[name].append(seconds_of(works[name], device))
                progress(name)
    return seconds


def seconds_of(work: Callable[[], Any], device: torch.device) -> float:
    """Wall-clock seconds of one run, until the device has finished."""
    synchronize(device)
    began = time.perf_counter()
    work()
    synchronize(device)
    return time.perf_counter() - began


def current(device: torch.device) -> AbstractContextManager[Any]:
    """Makes a GPU torch's current one, where streams, graphs and kernels of whoever asks for none in particular go."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def synchronize(device: torch.device) -> None:
    """Wait until everything queued on the device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@contextmanager
def no_garbage_collection() -> Iterator[None]:
    """A collection takes longer than a small step does, and would fall on whoever allocates at the time."""
    gc.collect()
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def one_line(error: Exception) -> str:
    """What stopped a piece of work, short enough for a table."""
    text = " ".join((str(error).strip().splitlines() or [""])[0].split())
    return f"{type(error).__name__}: {text}"[:200].rstrip(": ")
