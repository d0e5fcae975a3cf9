"""Where the time of a step goes, by kind of work."""

from __future__ import annotations

import os
import re
import statistics
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch.autograd import DeviceType

from dimvida.bench.timing import seconds_of

# The first kind whose pattern is found in the name of an operation or kernel. Compiled kernels carry the names of
# all that they do.
KINDS = {
    "products": r"gemm|cutlass|xmma|nvjet|cublas|splitk|(?<![a-z])((add|b)?mm|baddbmm|linear|matmul|addmv)(?![a-z])",
    "step": r"masked_step|philox|rand|normal_",
    "norm": r"norm|silu|moments",
    "copies": r"cop[yi]|(?<![a-z])(cat|clone|to|fill_|zero_)(?![a-z])|memcpy|memset",
}
OTHER, OUTSIDE = "other", "outside"
TOP = 20


@dataclass(frozen=True, slots=True)
class Operation:
    """All calls of one operation (CPU) or kernel (GPU).

    Attributes:
        name: As the profiler has it.
        kind: One of ``KINDS``, or ``other``.
        ms_per_step: Its own time, without that of what it calls.
        calls_per_step: How often.
    """

    name: str
    kind: str
    ms_per_step: float
    calls_per_step: float


@dataclass(frozen=True, slots=True)
class Gaps:
    """When a GPU had nothing to do between the first and the last kernel of a trajectory.

    Attributes:
        kernels_per_step: Kernels and copies that ran.
        us_per_step: Microseconds in which none did.
        median_us, largest_us: Of a single gap; 0 if there was none.
    """

    kernels_per_step: float
    us_per_step: float
    median_us: float
    largest_us: float


@dataclass(frozen=True, slots=True)
class Profile:
    """One profiled trajectory.

    Attributes:
        ms_per_step: Wall-clock time while profiling, which costs time itself.
        shares: Part of it by kind, summing to 1; ``outside`` is what is in no operation: Python and dispatch, or a
            GPU that waits.
        operations: Those that took the longest.
        gaps: Between kernels; None on the CPU.
    """

    ms_per_step: float
    shares: dict[str, float]
    operations: tuple[Operation, ...]
    gaps: Gaps | None = None

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def kind_of(name: str) -> str:
    """What kind of work an operation or kernel does, by its name."""
    lowered = name.lower()
    return next((kind for kind, pattern in KINDS.items() if re.search(pattern, lowered)), OTHER)


def recorded(device: torch.device, *, shapes: bool = False) -> torch.profiler.profile:
    """A profiler of what runs on a device."""
    # The profiler's library reports its own doings on standard error, between the lines of the caller.
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    activities = [torch.profiler.ProfilerActivity.CPU]
    if device.type == "cuda":
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    return torch.profiler.profile(activities=activities, record_shapes=shapes)


def profile(work: Callable[[], Any], device: torch.device, evaluations: int) -> Profile:
    """Profile one run of a trajectory of so many network evaluations."""
    on_gpu = device.type == "cuda"
    with recorded(device) as profiler:
        seconds = seconds_of(work, device)
    events = []
    for event in profiler.key_averages():
        if on_gpu:
            # Kernels only; an operation's time on the GPU is that of its kernels.
            own = event.self_device_time_total if event.device_type == DeviceType.CUDA else 0.0
        else:
            own = event.self_cpu_time_total
        if own > 0:
            events.append(Operation(event.key, kind_of(event.key), own / 1e3 / evaluations, event.count / evaluations))
    gaps = None
    if on_gpu:
        kernels = [event.time_range for event in profiler.events() if event.device_type == DeviceType.CUDA]
        gaps = find_gaps(((kernel.start, kernel.end) for kernel in kernels), evaluations)
    return summarise(events, 1e3 * seconds / evaluations, gaps)


def find_gaps(intervals: Iterable[tuple[float, float]], evaluations: int) -> Gaps:
    """Gaps between kernels given as (start, end) in microseconds; they may overlap, on several streams."""
    gaps, kernels, busy_until = [], 0, None
    for start, end in sorted(intervals):
        kernels += 1
        if busy_until is not None and start > busy_until:
            gaps.append(start - busy_until)
        busy_until = end if busy_until is None else max(busy_until, end)
    median, largest = (statistics.median(gaps), max(gaps)) if gaps else (0.0, 0.0)
    return Gaps(kernels / evaluations, sum(gaps) / evaluations, median, largest)


def summarise(operations: list[Operation], ms_per_step: float, gaps: Gaps | None = None) -> Profile:
    """Shares of the wall-clock time; kernels that overlap can fill more than all of it, which then is theirs."""
    totals = Counter({kind: 0.0 for kind in (*KINDS, OTHER)})
    for operation in operations:
        totals[operation.kind] += operation.ms_per_step
    whole = max(ms_per_step, totals.total())
    shares = {kind: total / whole for kind, total in totals.items()}
    shares[OUTSIDE] = 1 - sum(shares.values())
    longest = sorted(operations, key=lambda operation: -operation.ms_per_step)[:TOP]
    return Profile(ms_per_step, shares, tuple(longest), gaps)
