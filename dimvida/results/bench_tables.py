"""Benchmarks in tables that fit a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from dimvida.results.benchmarks import ArmTimes, BatchTimes, Failure, SamplingBenchmark, Spread, StepTimes
from dimvida.results.metrics import significant
from dimvida.results.tables import Column, Table, TableCell, text_column

OPERATIONS, LONGEST = 12, 44  # the costliest that are shown, and characters of a name; the file has more
SHARES = {
    "products": "products",
    "attention": "attention",
    "norm": "norm",
    "step": "step",
    "copies": "copies",
    "other": "other",
    "outside": "outside",
}


def machine_line(versions: dict[str, str | None], hardware: dict[str, Any]) -> str:
    """The line that says with which versions and on which machine something was measured."""
    gpu = hardware["gpu"]
    flags = " ".join(hardware["cpu_flags"])
    return (
        f"dimvida {versions['dimvida']}, torch {versions['torch']}, Python {versions['python']}; "
        f"{hardware['cpu']} ({flags or 'no known flags'}), threads: {hardware['threads']}"
        + (f"; {gpu['name']}, {gpu['memory_gib']} GiB, CUDA {versions['cuda']}" if gpu else "")
    )


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
        rows = [[arm.name, *(f"{100 * arm.profile.shares.get(kind, 0.0):.1f}" for kind in SHARES)] for arm in profiled]
        title = "share of a profiled step, % (norm: with activations; step: with noise; outside: in none)"
        beside = {arm.name: arm.profile.beside_products for arm in profiled}
        each = ", ".join(f"{name} {100 * share:.1f} %" for name, share in beside.items() if share is not None)
        notes = [f"of its processor time neither products nor attention: {each}"] if each else []
        yield _table(title, ["arm"], [*SHARES.values()], rows, notes)
    for arm in profiled:
        if arm.name.startswith("fused"):
            yield _operations_table(arm)


def steps_table(rows: Sequence[StepTimes]) -> Table:
    """Training steps beside their floors, medians in milliseconds."""
    cells = [
        [
            row.preset,
            row.stage,
            str(row.batch),
            *(
                "" if piece is None else significant(piece.median)
                for piece in (row.floor, row.step, row.draw, row.adam, row.average)
            ),
            f"{100 * row.overhead:.1f} %",
        ]
        for row in rows
    ]
    note = "ms; overhead: the step less optimiser and EMA, over its floor (forward and backward alone)"
    return _table(
        "", ["preset", "stage"], ["batch", "floor", "step", "draw", "optimiser", "EMA", "overhead"], cells, [note]
    )


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
            f"{100 * arm.floor_fraction:.0f} %",
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
    return _table(title, ["arm"], columns, rows, notes)


def _operations_table(arm: ArmTimes) -> Table:
    what = "kernels" if arm.peak_memory_bytes is not None else "operations"
    rows = []
    for one in arm.profile.operations[:OPERATIONS]:
        name = one.name if len(one.name) <= LONGEST else f"{one.name[: LONGEST - 3]}..."
        rows.append([name, one.kind, f"{one.calls_per_step:.3g}", significant(1e3 * one.ms_per_step)])
    return _table(f"{arm.name}: its costliest {what}", ["operation"], ["kind", "calls/step", "us/step"], rows)


def _table(
    title: str, words: Sequence[str], numbers: Sequence[str], rows: Sequence[Sequence[str]], notes: Sequence[str] = ()
) -> Table:
    """A table of columns of words, then of numbers; rows may end early."""
    columns = [*map(text_column, words), *map(Column, numbers)]
    cells = [[TableCell(text) for text in [*row, *[""] * (len(columns) - len(row))]] for row in rows]
    return Table(title, columns, cells, notes)


def _quartiles(spread: Spread) -> str:
    return f"{significant(spread.q1)}-{significant(spread.q3)}"


def _reasons(failures: Iterable[Failure]) -> list[str]:
    """What did not run, by reason."""
    names: dict[str, list[str]] = {}
    for failure in failures:
        names.setdefault(failure.reason, []).append(failure.name)
    return [f"not run: {', '.join(several)}: {reason}" for reason, several in names.items()]
