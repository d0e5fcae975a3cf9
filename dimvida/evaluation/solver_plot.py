"""Quality against network evaluations as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from dimvida.evaluation.solver_quality import Quality
from dimvida.files import atomic_path


def plot_quality(path: Path, points: Mapping[int, Sequence[Quality]], draws: Mapping[int, Quality]) -> None:
    """Two rows of panels, one column per number of known views.

    Above, PSNR against the true views; below, latent Fréchet distance to the reference's views; both against
    evaluations, a line per solver, with a dashed line where another draw of the reference lies.

    Args:
        path: PNG, or what its suffix says.
        points: Measurements by number of known views.
        draws: Another draw of the reference, likewise.
    """
    from matplotlib.figure import Figure  # slow to import

    figure = Figure(figsize=(4.2 * len(points), 7), layout="constrained")
    panels = figure.subplots(2, len(points), squeeze=False, sharex=True, sharey="row")
    for column, (known, measured) in enumerate(points.items()):
        for solver in dict.fromkeys(quality.solver for quality in measured):
            line = sorted((quality for quality in measured if quality.solver == solver), key=lambda q: q.steps)
            steps = [quality.steps for quality in line]
            panels[0, column].plot(steps, [q.psnr_true.mean for q in line], marker="o", markersize=3, label=solver)
            panels[1, column].plot(steps, [q.distance_reference for q in line], marker="o", markersize=3)
        draw = draws[known]
        name = f"{draw.solver}, {draw.steps}, another draw"
        panels[0, column].axhline(draw.psnr_true.mean, linestyle="--", color="black", linewidth=1, label=name)
        panels[1, column].axhline(draw.distance_reference, linestyle="--", color="black", linewidth=1)
        panels[0, column].set(title=f"{known} known")
        panels[1, column].set(xlabel="network evaluations")
        counts = sorted({quality.steps for quality in measured})
        for axes in panels[:, column]:
            axes.set_xscale("log")
            axes.set_xticks(counts, [str(count) for count in counts], minor=False)
            axes.set_xticks([], minor=True)
            axes.grid(alpha=0.3)
    panels[0, 0].set_ylabel("PSNR against the true views, dB")
    panels[1, 0].set_ylabel("latent Fréchet distance to the reference")
    panels[1, 0].set_ylim(bottom=0)
    panels[0, 0].legend(fontsize="small")
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=120)
