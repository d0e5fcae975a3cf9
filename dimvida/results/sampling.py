"""The file of ``dimvida bench sampling``: what it holds, and its tables, which fit a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from dimvida.results.benchmarks import Spread, machine_line
from dimvida.results.metrics import number, percent, significant
from dimvida.results.tables import Table, plain_table

OPERATIONS, LONGEST = 12, 44  # the costliest that are shown, and characters of a name; the file has more
SHARES = ("products", "attention", "norm", "step", "copies", "other", "outside")


@dataclass(frozen=True, slots=True)
class Operation:
    """All calls of one operation (CPU) or kernel (GPU).

    Attributes:
        name: Name that the profiler gives to the operation or kernel.
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
        name: Name of the arm, such as ``fused-fp32``.
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
        batch: Number B of rows.
        evaluations: Network evaluations of a trajectory.
        missing_views: Views that a trajectory makes.
        gflop_per_step: GFLOP of a step's matrix products.
        floors: The matrix products alone, by type.
        arms: The arms that ran.
        failed: The arms that did not run, each with the reason.
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


def head_lines(result: SamplingBenchmark) -> list[str]:
    """The lines that say what is measured on which machine, and which arms do not run."""
    settings = result.settings
    return [
        machine_line(result.versions, result.hardware),
        f"{settings['network']}: {settings['views']} views of {settings['latent_dim']}, width {settings['width']}; "
        f"{settings['solver']}, {' and '.join(map(str, settings['steps']))} steps, "
        f"{'at most ' if settings['seconds'] else ''}{settings['repeats']} runs of each arm",
        *_reasons(Failure(arm.name, arm.not_run) for arm in result.arms if arm.not_run),
    ]


def batch_tables(batch: BatchTimes) -> Iterator[Table]:
    """The arms at one batch size beside their floors, and their profiles."""
    yield _arms_table(batch)
    profiled = [arm for arm in batch.arms if arm.profile is not None]
    if profiled:
        rows = [
            [arm.name, *(number(100 * arm.profile.shares.get(kind, 0.0), 1) for kind in SHARES)] for arm in profiled
        ]
        title = "share of a profiled step, % (norm: with activations; step: with noise; outside: in none)"
        beside = {arm.name: arm.profile.beside_products for arm in profiled}
        each = ", ".join(f"{name} {percent(share)}" for name, share in beside.items() if share is not None)
        notes = [f"of its processor time neither products nor attention: {each}"] if each else []
        yield plain_table(title, ["arm"], SHARES, rows, notes)
    for arm in profiled:
        if arm.name.startswith("fused"):
            yield _operations_table(arm)


def _arms_table(batch: BatchTimes) -> Table:
    on_gpu = any(arm.peak_memory_bytes is not None for arm in batch.arms)
    columns = ["ms/step", "quartiles", "ms", "views/s", "of floor", "speed-up", *(["GiB"] if on_gpu else [])]
    rows = [
        [
            arm.name,
            significant(arm.ms_per_step.median),
            _quartiles(arm.ms_per_step),
            significant(arm.ms_per_trajectory.median),
            significant(arm.views_per_second),
            percent(arm.floor_fraction, 0),
            "" if arm.times_eager_fp32 is None else f"{arm.times_eager_fp32:.2f}",
            *([significant(arm.peak_memory_bytes / 2**30)] if arm.peak_memory_bytes is not None else []),
        ]
        for arm in batch.arms
    ]
    for floor in batch.floors:
        step = floor.ms_per_step
        whole = significant(step.median * batch.evaluations)
        rows.append([f"floor {floor.dtype}", significant(step.median), _quartiles(step), whole])
    notes = _reasons(batch.failed)
    apart = [f"{arm.name} {arm.rms_from_eager_fp32:.1e}" for arm in batch.arms if arm.rms_from_eager_fp32 is not None]
    if apart:
        notes.append(f"rms difference of the latents from the eager backend, same noise: {', '.join(apart)}")
    gflop = significant(batch.gflop_per_step)
    title = f"batch {batch.batch}, {batch.evaluations} steps: {gflop} GFLOP of matrix products a step"
    return plain_table(title, ["arm"], columns, rows, notes)


def _operations_table(arm: ArmTimes) -> Table:
    what = "kernels" if arm.peak_memory_bytes is not None else "operations"
    rows = []
    for one in arm.profile.operations[:OPERATIONS]:
        name = one.name if len(one.name) <= LONGEST else f"{one.name[: LONGEST - 3]}..."
        rows.append([name, one.kind, f"{one.calls_per_step:.3g}", significant(1e3 * one.ms_per_step)])
    return plain_table(f"{arm.name}: its costliest {what}", ["operation"], ["kind", "calls/step", "us/step"], rows)


def _quartiles(spread: Spread) -> str:
    return f"{significant(spread.q1)}-{significant(spread.q3)}"


def _reasons(failures: Iterable[Failure]) -> list[str]:
    """What did not run, by reason."""
    names: dict[str, list[str]] = {}
    for failure in failures:
        names.setdefault(failure.reason, []).append(failure.name)
    return [f"not run: {', '.join(several)}: {reason}" for reason, several in names.items()]
