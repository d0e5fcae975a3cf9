"""Learning curves as CSV and as a picture."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from dimvida.files import atomic_path, atomic_write
from dimvida.training.loop import CurvePoint


def write_csv(path: Path, curve: Sequence[CurvePoint]) -> None:
    """Columns: step, epoch, loss, lr, seconds and one per validation figure."""
    figures = list(curve[0].validation) if curve else []
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["step", "epoch", "loss", "lr", "seconds", *(f"validation_{name}" for name in figures)])
    for p in curve:
        row = [p.step, f"{p.epoch:.4f}", repr(p.loss), f"{p.lr:.6g}", f"{p.seconds:.1f}"]
        writer.writerow(row + [repr(p.validation[name]) for name in figures])
    atomic_write(path, text.getvalue())


def plot(path: Path, curves: Mapping[str, Sequence[CurvePoint]]) -> None:
    """One panel per stage, training and validation loss against steps, logarithmic; nothing without a point."""
    from matplotlib.figure import Figure  # slow to import, and only training needs it

    shown = {name: curve for name, curve in curves.items() if curve}
    if not shown:
        return
    width, height = 6 * len(shown), 4  # inches
    figure = Figure(figsize=(width, height))
    # Margins that fit, given rather than found: that would draw everything once more.
    figure.subplots_adjust(1 / width, 0.6 / height, 1 - 0.15 / width, 1 - 0.4 / height, wspace=0.25)
    for axes, (name, curve) in zip(figure.subplots(1, len(shown), squeeze=False)[0], shown.items(), strict=True):
        steps = [point.step for point in curve]
        axes.plot(steps, [point.loss for point in curve], label="training", linewidth=1)
        axes.plot(steps, [point.validation["loss"] for point in curve], label="validation (EMA)")
        axes.set(title=name, xlabel="step", ylabel="loss", yscale="log")
        axes.grid(alpha=0.3, which="both")
        axes.legend()
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=120)
