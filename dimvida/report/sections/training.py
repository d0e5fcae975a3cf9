"""Learning curves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dimvida.report.charts import Series, lines
from dimvida.report.document import Block, Heading, Note, Picture, Pictures, Section, Text
from dimvida.report.reading import Curve, Part
from dimvida.report.records import Training
from dimvida.report.wording import slug

ORDER = ("autoencoder", "diffusion", "classifier")


def training_section(parts: Sequence[Part[Training]]) -> Section:
    """Training and validation loss of every stage of every training."""
    blocks: list[Block] = []
    for part in parts:
        if len(parts) > 1:
            blocks.append(Heading(part.label))
        blocks.append(Text(_about(part.record.data)))
        charts = [chart for curve in _sorted(part.curves) if (chart := _chart(part.label, curve))]
        blocks.append(Pictures(charts) if charts else Note(f"{part.label} has no learning curve yet."))
    if not parts:
        command = "dimvida train --data DATA --out RUN"
        blocks.append(Note("No training among these runs. To train a model:", "missing", command))
    return Section("training", "Learning curves", blocks)


def _about(data: dict[str, Any]) -> str:
    choice = [
        f"{what} {data[name]}" for name, what in (("split", "split"), ("partition", "part d of")) if data.get(name)
    ]
    where = f" ({', '.join(choice)})" if choice else ""
    return f"Trained on {data['name']}{where}." if data.get("name") else "Loss against optimiser steps."


def _sorted(curves: Sequence[Curve]) -> list[Curve]:
    return sorted(curves, key=lambda curve: ORDER.index(curve.stage) if curve.stage in ORDER else len(ORDER))


def _chart(label: str, curve: Curve) -> Picture | None:
    series = [
        Series(title, curve.values[name])
        for name, title in (("loss", "training"), ("validation_loss", "validation (EMA)"))
        if any(value is not None for value in curve.values.get(name, ()))
    ]
    if not series:
        return None
    positive = all(value is None or value > 0 for line in series for value in line.values)
    return lines(
        slug("learning", label, curve.stage),
        f"{curve.stage}: loss",
        curve.steps,
        series,
        labels=("step", "loss"),
        digits=3,
        logarithmic="y" if positive else "",
        marked=False,
    )
