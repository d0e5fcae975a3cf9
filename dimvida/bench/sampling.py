"""One batch size: every arm and its floor, warmed up one after the other, then timed in turn; and the whole model."""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from dimvida.bench.arms import ARMS, BASELINE, FLOORS, SamplingArm, product_precision
from dimvida.bench.case import Case, flops_per_row, matrix_products, one_known
from dimvida.bench.timing import Profile, Spread, current, interleaved, one_line, profile, synchronize
from dimvida.sampling.multiview import MultiViewModel

WARM_UPS = 2  # runs of each piece of work that are not timed; the first one compiles
CHECKED_ROWS = 64
BACKENDS = ("eager", "fused")
Work = Callable[[], Any]
Progress = Callable[[str], object]


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
    """

    name: str
    trajectory: Spread
    floor: str
    memory: int | None
    deviation: float | None
    profile: Profile | None


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
            "profile": None if arm.profile is None else asdict(arm.profile),
        }


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
) -> BatchResult:
    """Time the arms on a case, and the floors of those that run.

    Args:
        case: The trajectory.
        arms: What to compare.
        repeats: Timed runs of each.
        profiled: Also profile one run of each, after the timed ones.
        limit: Seconds after which nothing is timed again; each arm is once.
        progress: Called with a few words after each run, timed or not.
    """
    gflop = flops_per_row(case.network) * len(case.latents) / 1e9
    result = BatchResult(len(case.latents), case.table.evaluations, case.missing_views, gflop)
    torch._dynamo.reset()  # what was compiled for another batch would only fill its cache
    works: dict[str, Work] = {}
    memory, deviations, profiles = {}, {}, {}
    with current(case.device):
        for arm in arms:
            try:
                works[arm.name], memory[arm.name], deviations[arm.name] = _prepare(arm, case, progress)
            except Exception as error:  # of whatever kind, the other arms still can run
                result.failed[arm.name] = one_line(error)
                progress(f"{arm.name} failed")
                _free_memory(case.device)
        ran = [ARMS[name] for name in ARMS if name in works]
        floors = {kind: f"floor {kind}" for kind in FLOORS if kind in {arm.floor for arm in ran}}
        for kind, name in floors.items():
            works[name] = _with_precision(matrix_products(case, FLOORS[kind]), kind)
            works[name]()
            progress(f"{name}, warm-up")
        times = _milliseconds(works, repeats, case.device, progress, limit)
        for arm in ran if profiled else ():
            profiles[arm.name] = profile(works[arm.name], case.device, case.table.evaluations)
            progress(f"{arm.name}, profile")
    result.floors = {kind: times[name] for kind, name in floors.items()}
    result.arms = [
        ArmResult(arm.name, times[arm.name], arm.floor, memory[arm.name], deviations[arm.name], profiles.get(arm.name))
        for arm in ran
    ]
    return result


@dataclass(frozen=True, slots=True)
class ModelTime:
    """One piece of the way from pictures to pictures.

    Attributes:
        name: ``encode``, ``decode``, or ``generate`` with a backend, which is encode, sample and decode.
        views: Views that it takes (encode) or makes.
        time: Milliseconds.
    """

    name: str
    views: int
    time: Spread

    @property
    def views_per_second(self) -> float:
        return self.views / self.time.median * 1e3

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        times = {"ms": asdict(self.time), "views_per_second": self.views_per_second}
        return {"name": self.name, "views": self.views, **times}


def end_to_end_runs(repeats: int) -> int:
    """How often ``measure_end_to_end`` calls ``progress``, at most."""
    return (2 + len(BACKENDS)) * (WARM_UPS + repeats)


@torch.no_grad()
def measure_end_to_end(
    model: MultiViewModel,
    batch: int,
    repeats: int,
    *,
    solver: str,
    steps: int,
    progress: Progress = lambda what: None,
) -> tuple[list[ModelTime], dict[str, str]]:
    """Time ``MultiViewModel.generate`` and its parts on random pictures, one known view each.

    Reading and writing files is not part of it.

    Returns:
        The pieces that ran, and by name those that did not with the reason.
    """
    sizes, generator = model.config.autoencoder, torch.Generator().manual_seed(0)
    shape = (batch, len(model.view_names), sizes.channels, model.image_size, model.image_size)
    images = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8).to(model.device)
    known = one_known(*shape[:2]).to(model.device)
    latents = torch.randn(int((~known).sum()), sizes.latent_dim, generator=generator).to(model.device)
    works: dict[str, Work] = {
        "encode": lambda: model.encode(images[known]),
        "decode": lambda: model.decode(latents),
    }
    for backend in BACKENDS:
        works[f"generate, {backend}"] = lambda backend=backend: model.generate(
            images, known, solver=solver, steps=steps, backend=backend
        )
    failed = {}
    with current(model.device):
        for name in list(works):
            try:
                _warm_up(name, works[name], model.device, progress)
            except Exception as error:  # no such backend here, or too little memory: the other pieces still can run
                failed[name] = one_line(error)
                del works[name]
        times = _milliseconds(works, repeats, model.device, progress)
    views = {"encode": int(known.sum())}
    return [ModelTime(name, views.get(name, len(latents)), time) for name, time in times.items()], failed


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
