"""One batch size: every arm and the floor, warmed up one after the other, then timed in turn."""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from dimvida.bench.arms import ARMS, BASELINE, FLOORS, Arm, fused, product_precision
from dimvida.bench.floor import matrix_products
from dimvida.bench.operations import Achieved, measure_operations
from dimvida.bench.profile import Profile, profile
from dimvida.bench.subject import Case, flops_per_row
from dimvida.bench.timing import Spread, current, interleaved, one_line, synchronize
from dimvida.sampling import sample

WARM_UPS = 2  # runs of each arm that are not timed; the first one compiles
CHECKED_ROWS = 64
Work = Callable[[], Any]


@dataclass(frozen=True, slots=True)
class ArmResult:
    """How long one arm took.

    Attributes:
        name: The arm's.
        trajectory: Milliseconds of a whole trajectory.
        floor: Name of its floor.
        memory: Bytes of GPU memory at the peak of its first runs that were not in use before them: its copy of the
            weights, buffers and activations. None on the CPU.
        deviation: For the fused backend: root mean square difference of its latents from those of the eager
            backend in float32 with the same noise, over the first rows.
        profile: Where the time goes, if asked for.
        operations: For the fused backend, if asked for: what each operation achieves.
    """

    name: str
    trajectory: Spread
    floor: str
    memory: int | None
    deviation: float | None
    profile: Profile | None
    operations: tuple[Achieved, ...] = ()


@dataclass(slots=True)
class BatchResult:
    """All arms at one batch size.

    Attributes:
        batch: Rows B.
        evaluations: Network evaluations of a trajectory.
        missing_views: Views that a trajectory makes.
        gflop_per_step: Of the matrix products.
        arms: Those that ran, in the order of ``ARMS``.
        failed: Those that did not, with the reason.
        floors: Milliseconds of the matrix products of a whole trajectory, by kind.
    """

    batch: int
    evaluations: int
    missing_views: int
    gflop_per_step: float
    arms: list[ArmResult] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    floors: dict[str, Spread] = field(default_factory=dict)

    def ms_per_step(self, spread: Spread) -> Spread:
        """Of a whole trajectory's milliseconds; with start and tables shared out over the steps."""
        return spread.scaled(1 / self.evaluations)

    def views_per_second(self, arm: ArmResult) -> float:
        """Missing views made in a second."""
        return self.missing_views / arm.trajectory.median * 1e3

    def floor_fraction(self, arm: ArmResult) -> float:
        """Floor over time: 1 is a step that does nothing but matrix products."""
        return self.floors[arm.floor].median / arm.trajectory.median

    def times_baseline(self, arm: ArmResult) -> float | None:
        """How many times as fast as the public implementation's loop; None where that did not run."""
        baseline = next((other for other in self.arms if other.name == BASELINE), None)
        return None if baseline is None else baseline.trajectory.median / arm.trajectory.median

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "batch": self.batch,
            "evaluations": self.evaluations,
            "missing_views": self.missing_views,
            "gflop_per_step": self.gflop_per_step,
            "floors": [
                {"dtype": name, "ms_per_step": asdict(self.ms_per_step(floor))} for name, floor in self.floors.items()
            ],
            "arms": [self._arm_dict(arm) for arm in self.arms],
            "failed": [{"name": name, "reason": reason} for name, reason in self.failed.items()],
        }

    def _arm_dict(self, arm: ArmResult) -> dict[str, Any]:
        return {
            "name": arm.name,
            "ms_per_step": asdict(self.ms_per_step(arm.trajectory)),
            "ms_per_trajectory": asdict(arm.trajectory),
            "views_per_second": self.views_per_second(arm),
            "floor": arm.floor,
            "floor_fraction": self.floor_fraction(arm),
            "times_eager_fp32": self.times_baseline(arm),
            "peak_memory_bytes": arm.memory,
            "rms_from_eager_fp32": arm.deviation,
            "profile": None if arm.profile is None else arm.profile.to_dict(),
            "operations": [operation.to_dict() for operation in arm.operations],
        }


def runs_of(arms: Sequence[Arm], repeats: int, *, profiled: bool = False) -> int:
    """How often ``measure`` calls ``progress``, at most."""
    floors = len({arm.floor for arm in arms})
    operations = profiled * sum(arm.is_fused for arm in arms)
    return len(arms) * (WARM_UPS + repeats + profiled) + operations + floors * (1 + repeats)


def measure(
    case: Case,
    arms: Sequence[Arm],
    repeats: int,
    *,
    profiled: bool = False,
    limit: float = math.inf,
    progress: Callable[[str], object] = lambda what: None,
) -> BatchResult:
    """Time the arms on a case.

    Args:
        case: The trajectory.
        arms: What to compare.
        repeats: Timed runs of each.
        profiled: Also profile one run of each, after the timed ones.
        limit: Seconds after which nothing is timed again; each arm is once.
        progress: Called with a few words after each run, timed or not.
    """
    with torch.no_grad(), current(case.device):
        return _measure(case, arms, repeats, profiled, limit, progress)


def _measure(
    case: Case, arms: Sequence[Arm], repeats: int, profiled: bool, limit: float, progress: Callable[[str], object]
) -> BatchResult:
    network = case.subject.network
    gflop = flops_per_row(network) * len(case.latents) / 1e9
    result = BatchResult(len(case.latents), case.table.evaluations, case.missing_views, gflop)
    torch._dynamo.reset()  # what was compiled for another batch would only fill its cache
    works: dict[str, Work] = {}
    memory, deviations, profiles, operations = {}, {}, {}, {}
    for arm in arms:
        try:
            works[arm.name], memory[arm.name], deviations[arm.name] = _prepare(arm, case, progress)
        except Exception as error:  # of whatever kind, the other arms still can run
            result.failed[arm.name] = one_line(error)
            progress(f"{arm.name} failed")
            _free_memory(case.device)
    ran = [ARMS[name] for name in ARMS if name in works]
    for kind in dict.fromkeys(arm.floor for arm in ran):
        works[_floor_name(kind)] = _with_precision(matrix_products(case, FLOORS[kind]), kind == "tf32")
        works[_floor_name(kind)]()
        progress(f"floor {kind}, warm-up")
    seconds = interleaved(works, repeats, case.device, progress, limit)
    if profiled:
        for arm in ran:
            profiles[arm.name] = profile(works[arm.name], case.device, case.table.evaluations)
            progress(f"{arm.name}, profile")
            if arm.is_fused:
                operations[arm.name] = _operations(arm, case)
                progress(f"{arm.name}, operations")
    spreads = {name: Spread.of([1e3 * value for value in values]) for name, values in seconds.items()}
    result.floors = {kind: spreads[_floor_name(kind)] for kind in FLOORS if _floor_name(kind) in spreads}
    result.arms = [
        ArmResult(
            arm.name,
            spreads[arm.name],
            arm.floor,
            memory[arm.name],
            deviations[arm.name],
            profiles.get(arm.name),
            operations.get(arm.name, ()),
        )
        for arm in ran
    ]
    return result


def _prepare(arm: Arm, case: Case, progress: Callable[[str], object]) -> tuple[Work, int | None, float | None]:
    """The arm's work, warmed up, with the memory that it took and how far its result is from the reference."""
    before = _start_memory(case.device)
    with product_precision(arm.tf32):
        work = _with_precision(arm.build(case, arm.dtype), arm.tf32)
    for _ in range(WARM_UPS):
        out = work()
        synchronize(case.device)
        progress(f"{arm.name}, warm-up")
    memory = None if before is None else torch.cuda.max_memory_allocated(case.device) - before
    return work, memory, _deviation(case, out) if arm.is_fused else None


def _operations(arm: Arm, case: Case) -> tuple[Achieved, ...]:
    """Of the engine without a graph, warmed up: what is launched by itself can be told apart."""
    launched = fused(case, arm.dtype, graphs=False)
    launched()
    return measure_operations(launched, case.device, case.table.evaluations, arm.dtype)


def _deviation(case: Case, out: torch.Tensor) -> float:
    subject, rows = case.subject, slice(0, CHECKED_ROWS)
    with product_precision(tf32=False):
        expected = sample(
            subject.network,
            case.latents[rows],
            case.known[rows],
            solver=case.solver,
            steps=case.table.evaluations,
            seed=case.seed,
            backend="eager",
            x0_clip=subject.x0_clip,
            schedule=subject.schedule,
            prediction=subject.prediction,
        )
    return float((out[rows] - expected)[~case.known[rows]].double().square().mean().sqrt())


def _with_precision(work: Work, tf32: bool) -> Work:
    def run() -> Any:
        with product_precision(tf32):
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


def _floor_name(kind: str) -> str:
    return f"floor {kind}"
