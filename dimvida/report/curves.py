"""Curves: quality against the sampler's steps, and what was learned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dimvida.report.document import Block, Heading, Note, Section, Text, gallery
from dimvida.report.reading import Curve, Part, Runs, slug
from dimvida.results.charts import LineChart, Series
from dimvida.results.solvers import SolversResult, quality_charts

STAGES = ("autoencoder", "diffusion", "classifier")


def solvers_section(runs: Runs) -> Section:
    """Curves of PSNR and of the latent Fréchet distance for each number of known views."""
    blocks: list[Block] = []
    for part in runs.solvers:
        if len(runs.solvers) > 1:
            blocks.append(Heading(part.label))
        blocks += _solvers(part)
    if not runs.solvers:
        command = "dimvida bench solvers --data DATA --checkpoint RUN --json DIR/solvers.json"
        blocks.append(Note("No measurement of quality against steps among these runs. To make it:", "missing", command))
    return Section("solvers", "Quality against steps", blocks)


def training_section(runs: Runs) -> Section:
    """Training and validation loss of every stage of every training."""
    blocks: list[Block] = []
    for part in runs.trainings:
        if len(runs.trainings) > 1:
            blocks.append(Heading(part.label))
        blocks.append(Text(_about(part.record.data)))
        charts = [chart for curve in _sorted(part.curves) if (chart := _learning(part.label, curve))]
        blocks.append(gallery(charts) if charts else Note(f"{part.label} has no learning curve yet."))
    if not runs.trainings:
        command = "dimvida train --data DATA --out RUN"
        blocks.append(Note("No training among these runs. To train a model:", "missing", command))
    return Section("training", "Learning curves", blocks)


def _solvers(part: Part[SolversResult]) -> list[Block]:
    settings = part.record.settings
    facts = [
        f"{settings[name]} {what}" if what else str(settings[name])
        for name, what in (("objects", "objects of"), ("data", ""))
        if name in settings
    ]
    text = " ".join(facts) + ". " if facts else ""
    text += (
        "PSNR is against the true views. The latent Fréchet distance is between Gaussians fitted to the autoencoder's "
        "latents of a solver's views and of the reference's; it compares solvers of one model and is no FID."
    )
    blocks: list[Block] = [Text(text)]
    if not part.record.complete:
        blocks.append(Note("This measurement was not finished; the curves show what there is so far.", "warning"))
    name = slug("solvers", part.label)
    return blocks + [gallery(quality_charts(scores, name)) for scores in part.record.known if scores.points]


def _about(data: dict[str, Any]) -> str:
    choice = [
        f"{what} {data[name]}" for name, what in (("split", "split"), ("partition", "part d of")) if data.get(name)
    ]
    where = f" ({', '.join(choice)})" if choice else ""
    return f"Trained on {data['name']}{where}." if data.get("name") else "Loss against optimiser steps."


def _sorted(curves: Sequence[Curve]) -> list[Curve]:
    return sorted(curves, key=lambda curve: STAGES.index(curve.stage) if curve.stage in STAGES else len(STAGES))


def _learning(label: str, curve: Curve) -> LineChart | None:
    series = [
        Series(title, curve.values[name])
        for name, title in (("loss", "training"), ("validation_loss", "validation (EMA)"))
        if any(value is not None for value in curve.values.get(name, ()))
    ]
    if not series:
        return None
    positive = all(value is None or value > 0 for line in series for value in line.values)
    return LineChart(
        name=slug("learning", label, curve.stage),
        title=f"{curve.stage}: loss",
        places=curve.steps,
        series=series,
        labels=("step", "loss"),
        digits=3,
        logarithmic="y" if positive else "",
        marked=False,
    )
