"""What ``dimvida bench sampling`` and ``training`` write; the others are in ``solvers`` and ``generation``.

Fields that follow from others are worked out where they are declared.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from typing import Any


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


@dataclass(frozen=True, slots=True)
class Operation:
    """All calls of one operation (CPU) or kernel (GPU).

    Attributes:
        name: What the profiler calls it.
        kind: ``products``, ``norm``, ``step``, ``copies`` or ``other``.
        ms_per_step: Its own time, without that of what it calls.
        calls_per_step: How often it is called in a step.
    """

    name: str
    kind: str
    ms_per_step: float
    calls_per_step: float


@dataclass(frozen=True, slots=True)
class Profile:
    """One profiled trajectory.

    Attributes:
        ms_per_step: Wall-clock time while profiling, which costs time itself.
        shares: Part of it by kind, summing to 1; ``outside`` is what is in no operation: Python and dispatch, or a
            GPU that waits.
        operations: Those that took the longest.
        beside_products: Part of the processor time, measured without the profiler, that is neither products nor
            attention; of the fused backend on the CPU only.
    """

    ms_per_step: float
    shares: dict[str, float]
    operations: tuple[Operation, ...]
    beside_products: float | None = field(default=None, metadata={"optional": True})


@dataclass(frozen=True, slots=True)
class Failure:
    """What did not run, and why."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmTimes:
    """How long one way of sampling took.

    Attributes:
        name: The arm's.
        ms_per_step: Milliseconds of a trajectory shared out over its steps, with start and tables.
        ms_per_trajectory: Milliseconds of a whole trajectory.
        views_per_second: Missing views made in a second.
        floor: Name of its floor.
        floor_fraction: Floor over time: 1 is a step that does nothing but matrix products.
        times_eager_fp32: How many times as fast as the public implementation's loop; None where that did not run.
        peak_memory_bytes: GPU memory at the peak of its first runs that was not in use before them: its copy of
            the weights, buffers and activations. None on the CPU.
        rms_from_eager_fp32: For the fused backend: root mean square difference of its latents from those of the eager
            backend in float32 with the same noise, over the first rows.
        profile: Where the time goes, if asked for.
    """

    name: str
    ms_per_step: Spread
    ms_per_trajectory: Spread
    views_per_second: float
    floor: str
    floor_fraction: float
    times_eager_fp32: float | None = None
    peak_memory_bytes: int | None = None
    rms_from_eager_fp32: float | None = None
    profile: Profile | None = None


@dataclass(frozen=True, slots=True)
class FloorTimes:
    """Milliseconds of the matrix products of a step in one type."""

    dtype: str
    ms_per_step: Spread


@dataclass(slots=True)
class BatchTimes:
    """All arms at one batch size.

    Attributes:
        batch: Rows B.
        evaluations: Network evaluations of a trajectory.
        missing_views: Views that a trajectory makes.
        gflop_per_step: GFLOP of a step's matrix products.
        floors: The matrix products alone, by type.
        arms: Those that ran.
        failed: Those that did not.
    """

    batch: int
    evaluations: int
    missing_views: int
    gflop_per_step: float
    floors: list[FloorTimes] = field(default_factory=list)
    arms: list[ArmTimes] = field(default_factory=list)
    failed: list[Failure] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class ArmFacts:
    """An arm that there is, and why it was not run; None where it was."""

    name: str
    description: str
    not_run: str | None = None


@dataclass(slots=True, kw_only=True)
class SamplingBenchmark:
    """The file of ``dimvida bench sampling``, which is written again after each batch size."""

    benchmark: str = "sampling"
    schema: int = 3  # 2: several numbers of steps in a file; 3: profiles without gaps and rates of operations
    versions: dict[str, str | None]
    hardware: dict[str, Any]
    complete: bool = False
    settings: dict[str, Any]
    arms: list[ArmFacts]
    results: list[BatchTimes] = field(default_factory=list)


@dataclass(slots=True)
class StepTimes:
    """Milliseconds of a training step and of its parts.

    Attributes:
        stage: ``autoencoder`` or ``diffusion``.
        parameters: Weights of the network.
        batch: Images or objects.
        floor: Forward and backward pass of this network on a batch that is there already, and nothing else.
        step: A whole step of the loop.
        draw: What the step draws and gathers, by itself.
        adam: Its optimiser, by itself.
        average: The moving average of the weights, by itself; None where the stage has none.
        preset: Whose sizes and settings.
        step_over_floor: How many floors a step takes.
        overhead: What the step takes beyond its floor, the optimiser and the average, as a share of the floor.
    """

    stage: str
    parameters: int
    batch: int
    floor: Spread
    step: Spread
    draw: Spread
    adam: Spread
    average: Spread | None
    preset: str = ""
    step_over_floor: float = field(init=False)
    overhead: float = field(init=False)

    def __post_init__(self) -> None:
        needed = self.adam.median + (self.average.median if self.average else 0.0)
        self.step_over_floor = self.step.median / self.floor.median
        self.overhead = (self.step.median - needed) / self.floor.median - 1


@dataclass(slots=True, kw_only=True)
class TrainingBenchmark:
    """The file of ``dimvida bench training``."""

    benchmark: str = "training"
    schema: int = 1
    versions: dict[str, str | None]
    hardware: dict[str, Any]
    settings: dict[str, Any]
    results: list[StepTimes] = field(default_factory=list)
