"""One batch size: every arm and its floor, warmed up one after the other, then timed in turn."""

from __future__ import annotations

import dataclasses
import gc
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from dimvida.bench.arms import ARMS, BASELINE, FLOORS, SamplingArm, product_precision
from dimvida.bench.case import Case, flops_per_row, matrix_products
from dimvida.bench.timing import beside_products, current, interleaved, one_line, profile, synchronize
from dimvida.results.benchmarks import Spread
from dimvida.results.sampling import ArmTimes, BatchTimes, Failure, FloorTimes, Profile

WARM_UPS = 2  # runs of each piece of work that are not timed; the first one compiles
CHECKED_ROWS = 64
Work = Callable[[], Any]
Progress = Callable[[str], object]


def runs_of(arms: Sequence[SamplingArm], repeats: int, *, profiled: bool = False) -> int:
    """How often ``measure`` calls ``progress``, at most."""
    return len(arms) * (WARM_UPS + repeats + profiled) + len({arm.floor for arm in arms}) * (1 + repeats)


@torch.no_grad()
def measure(
    case: Case,
    arms: Sequence[SamplingArm],
    repeats: int,
    *,
    profiled: bool = False,
    limit: float = math.inf,
    progress: Progress = lambda what: None,
) -> BatchTimes:
    """Time the arms on a case, and the floors of those that run.

    Args:
        case: The trajectory that every arm computes.
        arms: The arms to time, in the order of the result.
        repeats: Timed runs of each.
        profiled: Also profile one run of each, after the timed ones, and of fused ones on the CPU ``beside_products``.
        limit: Seconds after which nothing is timed again; each arm is once.
        progress: Called with a few words after each run, timed or not.
    """
    gflop = flops_per_row(case.network) * len(case.latents) / 1e9
    result = BatchTimes(len(case.latents), case.table.evaluations, case.missing_views, gflop)
    torch._dynamo.reset()  # what was compiled for another batch would only fill its cache
    works: dict[str, Work] = {}
    memory, deviations, profiles = {}, {}, {}
    with current(case.device):
        for arm in arms:
            try:
                works[arm.name], memory[arm.name], deviations[arm.name] = _prepare(arm, case, progress)
            except Exception as error:  # of whatever kind, the other arms still can run
                result.failed.append(Failure(arm.name, one_line(error)))
                progress(f"{arm.name} failed")
                _free_memory(case.device)
        ran = [ARMS[name] for name in ARMS if name in works]
        floors = {kind: f"floor {kind}" for kind in FLOORS if kind in {arm.floor for arm in ran}}
        for kind, name in floors.items():
            with product_precision(kind):  # a graph keeps the products that it was captured with
                products = matrix_products(case, FLOORS[kind])
            works[name] = _with_precision(products, kind)
            works[name]()
            progress(f"{name}, warm-up")
        times = _milliseconds(works, repeats, case.device, progress, limit)
        for arm in ran if profiled else ():
            profiles[arm.name] = profile(works[arm.name], case.device, case.table.evaluations)
            if arm.is_fused and case.device.type == "cpu":
                share = beside_products(works[arm.name], repeats)
                profiles[arm.name] = dataclasses.replace(profiles[arm.name], beside_products=share)
            progress(f"{arm.name}, profile")
    result.floors = [FloorTimes(kind, times[name].scaled(1 / result.evaluations)) for kind, name in floors.items()]
    for arm in ran:
        about = memory[arm.name], deviations[arm.name], profiles.get(arm.name)
        result.arms.append(arm_times(arm.name, times, result.evaluations, result.missing_views, *about))
    return result


def arm_times(
    name: str,
    times: Mapping[str, Spread],
    evaluations: int,
    missing_views: int,
    memory: int | None = None,
    deviation: float | None = None,
    profile: Profile | None = None,
) -> ArmTimes:
    """What follows from the times of an arm, of its floor and of the baseline.

    Args:
        name: Name of the arm that these facts are of.
        times: Milliseconds of whole trajectories: of the arms that ran by their names, and of floors as ``floor fp32``.
        evaluations: Network evaluations of a trajectory.
        missing_views: Views that a trajectory makes.
        memory, deviation, profile: ``peak_memory_bytes``, ``rms_from_eager_fp32`` and ``profile`` of ``ArmTimes``.
    """
    own, floor, baseline = times[name], ARMS[name].floor, times.get(BASELINE)
    return ArmTimes(
        name=name,
        ms_per_step=own.scaled(1 / evaluations),
        ms_per_trajectory=own,
        views_per_second=missing_views / own.median * 1e3,
        floor=floor,
        floor_fraction=times[f"floor {floor}"].median / own.median,
        times_eager_fp32=baseline and baseline.median / own.median,
        peak_memory_bytes=memory,
        rms_from_eager_fp32=deviation,
        profile=profile,
    )


def _prepare(arm: SamplingArm, case: Case, progress: Progress) -> tuple[Work, int | None, float | None]:
    """The arm's work, warmed up, with the memory that it took and how far its result is from the reference."""
    before = _start_memory(case.device)
    with product_precision(arm.floor):
        work = _with_precision(arm.build(case, arm.dtype), arm.floor)
    made = _warm_up(arm.name, work, case.device, progress)
    memory = None if before is None else torch.cuda.max_memory_allocated(case.device) - before
    return work, memory, _deviation(case, made) if arm.is_fused else None


def _warm_up(name: str, work: Work, device: torch.device, progress: Progress) -> Any:
    for _ in range(WARM_UPS):
        made = work()
        synchronize(device)
        progress(f"{name}, warm-up")
    return made


def _milliseconds(
    works: dict[str, Work], repeats: int, device: torch.device, progress: Progress, limit: float = math.inf
) -> dict[str, Spread]:
    seconds = interleaved(works, repeats, device, progress, limit)
    return {name: Spread.of(values).scaled(1e3) for name, values in seconds.items()}


def _deviation(case: Case, made: torch.Tensor) -> float:
    rows = slice(0, CHECKED_ROWS)
    with product_precision("fp32"):
        expected = case.sample(case.network, "eager", rows)
    return float((made[rows] - expected)[~case.known[rows]].double().square().mean().sqrt())


def _with_precision(work: Work, floor: str) -> Work:
    def run() -> Any:
        with product_precision(floor):
            return work()

    return run


def _start_memory(device: torch.device) -> int | None:
    if device.type != "cuda":
        return None
    _free_memory(device)
    torch.cuda.reset_peak_memory_stats(device)
    return torch.cuda.memory_allocated(device)


def _free_memory(device: torch.device) -> None:
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
