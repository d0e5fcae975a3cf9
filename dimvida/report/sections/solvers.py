"""Quality of the generated views against the sampler's steps."""

from __future__ import annotations

from collections.abc import Sequence

from dimvida.report.charts import Series, lines
from dimvida.report.document import Block, Heading, Note, Picture, Pictures, Section, Text
from dimvida.report.reading import Part
from dimvida.report.records import Solvers, SolverScores
from dimvida.report.wording import bounds, slug


def solvers_section(parts: Sequence[Part[Solvers]]) -> Section:
    """Curves of PSNR and of the latent Fréchet distance for each number of known views."""
    blocks: list[Block] = []
    for part in parts:
        if len(parts) > 1:
            blocks.append(Heading(part.label))
        blocks += _blocks(part)
    if not parts:
        command = "dimvida bench solvers --data DATA --checkpoint RUN --json DIR/solvers.json"
        blocks.append(Note("No measurement of quality against steps among these runs. To make it:", "missing", command))
    return Section("solvers", "Quality against steps", blocks)


def _blocks(part: Part[Solvers]) -> list[Block]:
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
    return blocks + [Pictures([*_pair(part.label, scores)]) for scores in part.record.known if scores.points]


def _pair(label: str, scores: SolverScores) -> list[Picture]:
    places = sorted({point.steps for point in scores.points})
    found = {(point.solver, point.steps): point for point in scores.points}
    names = list(dict.fromkeys(point.solver for point in scores.points))
    psnr, distance = [], []
    for name in names:
        points = [found.get((name, place)) for place in places]
        psnr.append(
            Series(
                name,
                [point and point.psnr_true.mean for point in points],
                [point and bounds(point.psnr_true) for point in points],
            )
        )
        distance.append(Series(name, [point and point.distance_reference for point in points]))
    known = f"{scores.known} known"
    draw = scores.another_draw
    level = None
    if draw is not None and draw.psnr_true.mean is not None:
        level = (f"{draw.solver}, {draw.steps} steps", draw.psnr_true.mean)
    other_level = None
    if draw is not None and draw.distance_reference is not None:
        other_level = (f"{draw.solver}, {draw.steps} steps, another draw", draw.distance_reference)
    charts = [
        lines(
            slug("solvers", label, f"{scores.known}-psnr"),
            f"PSNR, {known} (higher is better)",
            places,
            psnr,
            labels=("network evaluations", "PSNR, dB"),
            logarithmic="x",
            level=level,
            caption="Error bars: 95 % intervals.",
        )
    ]
    if any(value is not None for line in distance for value in line.values):
        charts.append(
            lines(
                slug("solvers", label, f"{scores.known}-distance"),
                f"Latent Fréchet distance, {known} (lower is better)",
                places,
                distance,
                labels=("network evaluations", "distance to the reference"),
                logarithmic="x",
                level=other_level,
            )
        )
    return charts
