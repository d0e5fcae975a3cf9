"""Repeated timing of several pieces of work, interleaved, and where the time of one of them goes."""

from __future__ import annotations

import gc
import itertools
import math
import os
import random
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch.autograd import DeviceType
from torch.nn import functional

from dimvida.results.sampling import Operation, Profile
from dimvida.sampling.workspace import capturing

# Kinds of work: the first whose pattern is found in the name of an operation or kernel. Compiled kernels carry the
# names of all that they do.
WORK_KINDS = {
    "attention": r"attention|flash|fmha|softmax",
    "products": r"gemm|cutlass|xmma|nvjet|cublas|splitk|(?<![a-z])((add|b)?mm|baddbmm|linear|matmul|addmv)(?![a-z])",
    "step": r"masked_step|philox|rand|normal_",
    "norm": r"norm|silu|gelu|moments",
    "copies": r"cop[yi]|(?<![a-z])(cat|clone|to|fill_|zero_)(?![a-z])|memcpy|memset",
}
OTHER, OUTSIDE = "other", "outside"
PRODUCT_CALLS = (
    *((torch, name) for name in ("mm", "addmm", "bmm", "baddbmm")),
    *((functional, name) for name in ("linear", "scaled_dot_product_attention")),
)
"""Where Python asks for a product or an attention."""
TOP = 20  # operations of a profile that are kept


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
        works: What is timed, by name; each was run before, so that nothing is compiled or loaded any more.
        repeats: Rounds in which each has its turn.
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


@dataclass(frozen=True, slots=True)
class CapturedWork:
    """A CUDA graph and the work that it was captured from: what that holds on to is the memory that the graph reads."""

    graph: torch.cuda.CUDAGraph
    work: Callable[[], object]

    def replay(self) -> None:
        """Launch the work again."""
        self.graph.replay()


def captured(work: Callable[[], object]) -> CapturedWork:
    """``work`` as a CUDA graph, run a few times first as what is compiled sets itself up on first use."""
    with capturing(torch.cuda.Stream()) as capture:
        with capture.warming_up():
            for _ in range(3):
                work()
        with capture.recording() as graph:
            work()
    return CapturedWork(graph, work)


def profile(work: Callable[[], Any], device: torch.device, evaluations: int) -> Profile:
    """Profile one run of a trajectory of so many network evaluations."""
    # The profiler's library reports its own doings on standard error, between the lines of the caller.
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    activities = [torch.profiler.ProfilerActivity.CPU]
    if device.type == "cuda":
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    with torch.profiler.profile(activities=activities) as profiler:
        seconds = seconds_of(work, device)
    operations = []
    for event in profiler.key_averages():
        if device.type == "cuda":
            # Kernels only; an operation's time on the GPU is that of its kernels.
            own = event.self_device_time_total if event.device_type == DeviceType.CUDA else 0.0
        else:
            own = event.self_cpu_time_total
        if own > 0:
            per_step = own / 1e3 / evaluations, event.count / evaluations
            operations.append(Operation(event.key, kind_of(event.key), *per_step))
    return summarise(operations, 1e3 * seconds / evaluations)


def beside_products(work: Callable[[], Any], repeats: int) -> float:
    """Part of a piece of work's processor time that is neither products, with the biases that they add, nor attention.

    Each of these is timed where it stands in the work, and so is what lies between two of them. Of all runs the
    smallest time of each counts: processor time of all threads, which other programs make longer at times and never
    shorter. Of work on the CPU only, that asks for the same in every run, by the names of ``PRODUCT_CALLS``.
    """
    runs = []
    with no_garbage_collection():
        for _ in range(repeats):
            with _product_marks() as marks:
                work()
            runs.append([after - before for before, after in itertools.pairwise(marks)])
    smallest = [min(times) for times in zip(*runs, strict=True)]
    return sum(smallest[::2]) / sum(smallest)


@contextmanager
def _product_marks() -> Iterator[list[float]]:
    """The processor time at both ends, and as each product and each attention in between begins and ends.

    In PyTorch's own functions, put back afterwards: a mode that sees all operations costs more than many of them take.
    """
    marks = [time.process_time()]

    def marked(function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            marks.append(time.process_time())
            made = function(*args, **kwargs)
            marks.append(time.process_time())
            return made

        return run

    before = [(module, name, getattr(module, name)) for module, name in PRODUCT_CALLS]
    for module, name, function in before:
        setattr(module, name, marked(function))
    try:
        yield marks
    finally:
        for module, name, function in before:
            setattr(module, name, function)
    marks.append(time.process_time())


def kind_of(name: str) -> str:
    """What kind of work an operation or kernel does, by its name."""
    lowered = name.lower()
    return next((kind for kind, pattern in WORK_KINDS.items() if re.search(pattern, lowered)), OTHER)


def summarise(operations: Sequence[Operation], ms_per_step: float) -> Profile:
    """Shares of the wall-clock time; kernels that overlap can fill more than all of it, which then is theirs."""
    totals = Counter({kind: 0.0 for kind in (*WORK_KINDS, OTHER)})
    for operation in operations:
        totals[operation.kind] += operation.ms_per_step
    whole = max(ms_per_step, totals.total())
    shares = {kind: total / whole for kind, total in totals.items()}
    shares[OUTSIDE] = 1 - sum(shares.values())
    return Profile(ms_per_step, shares, tuple(sorted(operations, key=lambda one: -one.ms_per_step)[:TOP]))


def one_line(error: Exception) -> str:
    """What stopped a piece of work, short enough for a table."""
    text = " ".join((str(error).strip().splitlines() or [""])[0].split())
    return f"{type(error).__name__}: {text}"[:200].rstrip(": ")
