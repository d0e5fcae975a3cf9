"""``solvers.json`` of ``dimvida bench solvers``: what it holds, its table, and its curves."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar

from dimvida.results.charts import LineChart, Series
from dimvida.results.metrics import LATENT_FRECHET, metric, significant
from dimvida.results.schema import Estimate, SkippedInput
from dimvida.results.tables import Column, TableCell, text_column


@dataclass(frozen=True, slots=True)
class SolverQuality:
    """How good the views are that one solver makes with one number of evaluations.

    Attributes:
        solver: Name of the solver.
        steps: Network evaluations of a trajectory.
        psnr_true: In dB, against the true views.
        psnr_reference: In dB, against the reference's views of the same inputs and seed; None for the reference.
        distance_true: Latent Fréchet distance to the true views.
        distance_reference: The same to the reference's views; None for the reference.
    """

    solver: str
    steps: int
    psnr_true: Estimate
    psnr_reference: Estimate | None = None
    distance_true: float = math.nan
    distance_reference: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SolversOfKnown:
    """All measurements for one number of known views.

    Attributes:
        sets: Sets of known views, each given in turn.
        views_scored: Pictures that each measurement is over.
        reference: The paper's sampler with many steps.
        another_draw: The same with another seed: how far apart two equally good results are.
        points: Every solver with every number of evaluations.
    """

    known: int
    sets: int = 0
    views_scored: int = 0
    reference: SolverQuality | None = None
    another_draw: SolverQuality | None = None
    points: list[SolverQuality]


@dataclass(slots=True, kw_only=True)
class SolversResult:
    """``solvers.json``, which is written again after each measurement.

    Attributes:
        complete: False while the measurement goes on.
        settings: What was measured on what: data, objects, checkpoint, seed, backend, dtype, the reference, ...
        reconstruction: ``psnr_true`` and ``distance_true`` of the autoencoder alone.
    """

    file: ClassVar[str] = "solvers.json"
    benchmark: str = "solvers"
    schema: int = 1
    complete: bool = True
    versions: dict[str, str | None] = field(default_factory=dict)
    hardware: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    reconstruction: dict[str, float] = field(default_factory=dict)
    known: list[SolversOfKnown]
    skipped: list[SkippedInput] = field(default_factory=list)


def quality_columns() -> list[Column]:
    """Columns of the table of measurements, whose rows are printed as they are made; 79 characters."""
    psnr, distance = metric("psnr").short, LATENT_FRECHET.short
    return [
        text_column("solver", 22),
        Column("steps", width=5),
        *(Column(f"{psnr} {against}", width=14) for against in ("true", "ref.")),
        *(Column(f"{distance} {against}", width=9) for against in ("true", "ref.")),
    ]


def quality_row(quality: SolverQuality, name: str = "") -> list[TableCell]:
    """One measurement, under the solver's name or another."""
    distances = (quality.distance_true, quality.distance_reference)
    return [
        TableCell(name or quality.solver),
        TableCell(str(quality.steps)),
        *map(_psnr, (quality.psnr_true, quality.psnr_reference)),
        *(TableCell("" if distance is None else significant(distance)) for distance in distances),
    ]


def quality_charts(scores: SolversOfKnown, name: str) -> list[LineChart]:
    """PSNR against the true views, and the latent Fréchet distance to the reference if it was measured.

    Both against network evaluations, a line per solver, with a dashed line where another draw of the reference lies.

    Args:
        scores: For one number of known views.
        name: What the names of the charts' files begin with.
    """
    places = sorted({point.steps for point in scores.points})
    found = {(point.solver, point.steps): point for point in scores.points}
    psnr, distance = [], []
    for solver in dict.fromkeys(point.solver for point in scores.points):
        points = [found.get((solver, place)) for place in places]
        values = [point and _finite(point.psnr_true.mean) for point in points]
        psnr.append(Series(solver, values, [point and point.psnr_true.interval() for point in points]))
        distance.append(Series(solver, [point and _finite(point.distance_reference) for point in points]))
    draw = scores.another_draw
    charts = [
        LineChart(
            name=f"{name}-{scores.known}-psnr",
            title=f"{metric('psnr').title}, {scores.known} known ({metric('psnr').direction})",
            places=places,
            series=psnr,
            labels=("network evaluations", metric("psnr").heading),
            logarithmic="x",
            level=draw and (f"{draw.solver}, {draw.steps} steps", draw.psnr_true.mean),
            caption="Error bars: 95 % intervals.",
        )
    ]
    if any(value is not None for line in distance for value in line.values):
        title = LATENT_FRECHET.title
        level = _finite(draw.distance_reference) if draw else None
        charts.append(
            LineChart(
                name=f"{name}-{scores.known}-distance",
                title=f"{title[0].upper()}{title[1:]}, {scores.known} known ({LATENT_FRECHET.direction})",
                places=places,
                series=distance,
                labels=("network evaluations", "distance to the reference"),
                logarithmic="x",
                level=None if level is None else (f"{draw.solver}, {draw.steps} steps, another draw", level),
            )
        )
    return charts


def _psnr(score: Estimate | None) -> TableCell:
    if score is None:
        return TableCell("")
    return TableCell(metric("psnr").number(score.mean), f"± {metric('psnr').number(score.standard_error)}")


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
