"""Generated views against the true ones: the paper's Table I, with breakdowns and contact sheets; and solvers."""

from __future__ import annotations

import io
from collections.abc import Iterable

from PIL import Image

from dimvida.errors import InputError
from dimvida.report import paper
from dimvida.report.document import Block, Gallery, Illustration, Note, Section, Text, gallery, section_by_run
from dimvida.report.reading import Part, Runs, slug
from dimvida.results.charts import BarChart, Series
from dimvida.results.evaluation import breakdown_table, score_table_by_metric, unavailable
from dimvida.results.metrics import DASH, in_order, metric
from dimvida.results.schema import Estimate, EvaluationResult
from dimvida.results.solvers import SolversResult, quality_charts

PAPER_KNOWN = ("1", "2", "3")  # numbers of known views in the paper's table


def evaluation_section(runs: Runs) -> Section:
    """Table I of every evaluation beside the paper's."""
    command = "dimvida evaluate --data DATA --checkpoint RUN --out DIR"
    missing = Note("No scores of generated views among these runs. To make them:", "missing", command)

    def blocks(part: Part[EvaluationResult]) -> list[Block]:
        return _blocks(part, runs.about_the_paper(part.record.data))

    return section_by_run("generation", "Generated views against the true ones", runs.evaluations, blocks, missing)


def solvers_section(runs: Runs) -> Section:
    """Curves of PSNR and of the latent Fréchet distance for each number of known views."""
    command = "dimvida bench solvers --data DATA --checkpoint RUN --json DIR/solvers.json"
    missing = Note("No measurement of quality against steps among these runs. To make it:", "missing", command)
    return section_by_run("solvers", "Quality against steps", runs.solvers, _solvers, missing)


def _blocks(part: Part[EvaluationResult], remark: str) -> list[Block]:
    result = part.record
    names = _in_order([*result.metrics, *(name for known in result.known for name in known.scores)])
    scored = [name for name in names if any(_score(known.scores, name).is_measured for known in result.known)]
    # The paper's metrics have a row even where they are not available, so that nobody takes another for them.
    shown = [name for name in names if (remark and name in paper.GENERATION) or name in scored]

    def quote(row: int, known: str) -> str:
        return paper.GENERATION.get(shown[row], {}).get(int(known), DASH) if row < len(shown) else ""

    blocks: list[Block] = [
        Text(_protocol(result)),
        paper.beside(score_table_by_metric(result, shown), remark, PAPER_KNOWN, quote),
        *(Note(f"{name} is not available: {reason}") for name, reason in unavailable(result).items()),
        gallery([_chart(part.label, result, name) for name in scored]),
        *_sheets(part),
    ]
    blocks += [breakdown_table(result, "view", names)] if result.per_view else []
    blocks += [breakdown_table(result, "class", names)] if result.per_class else []
    blocks += [breakdown_table(result, "angle", names)] if result.per_angle else []
    return blocks


def _in_order(names: Iterable[str]) -> list[str]:
    """The paper's metrics in the order of its table, then the others."""
    names = in_order(names)
    quoted = [name for name in paper.GENERATION if name in names]
    return quoted + [name for name in names if name not in quoted]


def _score(scores: dict[str, Estimate], name: str) -> Estimate:
    return scores.get(name, Estimate(float("nan")))


def _protocol(result: EvaluationResult) -> str:
    splits = f" ({', '.join(result.splits)})" if result.splits else ""
    facts = [f"{result.objects} objects of {result.data}{splits}"]
    facts += [f"solver {result.solver}, {result.steps} steps"] if result.solver else []
    facts += [f"seed {result.seed}"] if result.seed is not None else []
    sets = [
        f"{known.subsets} of {known.subsets_total}" for known in result.known if known.subsets < known.subsets_total
    ]
    scope = f"; sets of known views: {', '.join(sets)}" if sets else ""
    return f"{', '.join(facts)}. Means over all generated views and sets of known views{scope}, with 95 % intervals."


def _chart(label: str, result: EvaluationResult, name: str) -> BarChart:
    shown = metric(name)
    scores = [_score(known.scores, name) for known in result.known]
    ends = [score.interval() if score.is_measured else None for score in scores]
    return BarChart(
        name=slug("quality", label, name),
        title=f"{shown.short_heading} ({shown.direction})" if shown.direction else shown.short_heading,
        places=[str(known.known) for known in result.known],
        series=[
            Series(
                shown.heading,
                [score.mean * shown.factor if score.is_measured else None for score in scores],
                [pair and (pair[0] * shown.factor, pair[1] * shown.factor) for pair in ends],
            )
        ],
        labels=("known views", shown.short_heading),
        digits=shown.digits,
    )


def _sheets(part: Part[EvaluationResult]) -> list[Block]:
    ranked = part.record.sheet_metric
    by = metric(ranked).title if ranked else "quality"
    pictures = []
    for which in ("best", "median", "worst"):
        if name := (part.record.sheets or {}).get(which):
            caption = f"The {which} objects by {by}, one view known (framed)."
            pictures.append(_sheet(part, name, slug("sheet", part.label, f"{which}.png"), caption))
    return [Gallery(pictures, wide=True)] if pictures else []


def _sheet(part: Part[EvaluationResult], name: str, as_name: str, caption: str) -> Illustration:
    path = (part.folder / name).resolve()
    try:
        if not path.is_relative_to(part.folder):
            raise ValueError("is outside the run's folder")
        data = path.read_bytes()
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            size = image.size
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"{path}: contact sheet cannot be read ({reason}); evaluate again") from None
    return Illustration(as_name, data, f"Contact sheet. {caption}", caption, size)


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
