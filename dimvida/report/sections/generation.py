"""Generated views against the true ones: the paper's Table I, with breakdowns and contact sheets."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence

from PIL import Image

from dimvida.errors import InputError
from dimvida.report import paper
from dimvida.report.charts import Series, bars
from dimvida.report.document import Block, Cell, Column, Heading, Note, Picture, Pictures, Section, Table, Text
from dimvida.report.reading import Part, Runs
from dimvida.report.records import Evaluation, Score
from dimvida.report.wording import bounds, score_cell, slug
from dimvida.results.metrics import DASH, in_order, metric

QUOTED = "paper, NMR"


def generation_section(runs: Runs) -> Section:
    """Table I of every evaluation beside the paper's."""
    blocks: list[Block] = []
    for part in runs.evaluations:
        if len(runs.evaluations) > 1:
            blocks.append(Heading(part.label))
        blocks += _blocks(part, runs.about_the_paper(part.record.data))
    if not runs.evaluations:
        command = "dimvida evaluate --data DATA --checkpoint RUN --out DIR"
        blocks.append(Note("No scores of generated views among these runs. To make them:", "missing", command))
    return Section("generation", "Generated views against the true ones", blocks)


def _blocks(part: Part[Evaluation], about_paper: str) -> list[Block]:
    evaluation = part.record
    metrics = _in_order([*evaluation.metrics, *(name for known in evaluation.known for name in known.scores)])
    # The paper's metrics have a row even where they are not available, so that nobody takes another for them.
    shown = [name for name in metrics if (about_paper and name in paper.GENERATION) or _scored(evaluation, name)]
    blocks: list[Block] = [
        Text(_protocol(evaluation)),
        _table(evaluation, shown, about_paper),
        *_unavailable(evaluation),
        Pictures([chart for name in shown if (chart := _chart(part.label, evaluation, name))]),
        *_sheets(part),
    ]
    if evaluation.per_view:
        rows = {score.view: {} for score in evaluation.per_view}
        for score in evaluation.per_view:
            rows[score.view][score.known] = score.scores
        blocks.append(_breakdown("By generated view", "view", rows))
    if evaluation.per_class:
        rows = {score.class_name: {} for score in evaluation.per_class}
        for score in evaluation.per_class:
            rows[score.class_name][score.known] = score.scores
        counts = {score.class_name: score.objects for score in evaluation.per_class}
        blocks.append(_breakdown("By class", "class", rows, counts))
    return blocks


def _in_order(names: Iterable[str]) -> list[str]:
    """The paper's metrics in the order of its table, then the others."""
    names = in_order(names)
    return [name for name in paper.GENERATION if name in names] + [
        name for name in names if name not in paper.GENERATION
    ]


def _heading(name: str) -> str:
    """A metric's title, unit and better direction."""
    return f"{metric(name).heading} {metric(name).arrow}".rstrip()


def _scored(evaluation: Evaluation, name: str) -> bool:
    return any(known.scores.get(name, Score()).mean is not None for known in evaluation.known)


def _protocol(evaluation: Evaluation) -> str:
    splits = f" ({', '.join(evaluation.splits)})" if evaluation.splits else ""
    facts = [f"{evaluation.objects} objects of {evaluation.data}{splits}"]
    facts += [f"solver {evaluation.solver}, {evaluation.steps} steps"] if evaluation.solver else []
    facts += [f"seed {evaluation.seed}"] if evaluation.seed is not None else []
    sets = [
        f"{known.subsets} of {known.subsets_total}" for known in evaluation.known if known.subsets < known.subsets_total
    ]
    scope = f"; sets of known views: {', '.join(sets)}" if sets else ""
    return f"{', '.join(facts)}. Means over all generated views and sets of known views{scope}, with 95 % intervals."


def _table(evaluation: Evaluation, metrics: Sequence[str], about_paper: str) -> Table:
    numbers = [known.known for known in evaluation.known]
    columns = [Column("metric", numeric=False)]
    columns += [Column(str(number), "this run, known views") for number in numbers]
    columns += [Column("reconstruction", "ceilings")] if evaluation.reconstruction else []
    columns += [Column("true views", "ceilings")] if evaluation.reference else []
    quoted = sorted(paper.GENERATION["fid"]) if about_paper else []
    columns += [Column(str(number), QUOTED, quoted=True) for number in quoted]
    rows = []
    for name in metrics:
        cells = [Cell(_heading(name))]
        cells += [score_cell(name, known.scores.get(name)) for known in evaluation.known]
        for ceiling in filter(None, (evaluation.reconstruction, evaluation.reference)):
            cells.append(score_cell(name, ceiling.scores.get(name)))
        cells += [Cell(paper.GENERATION.get(name, {}).get(number, DASH)) for number in quoted]
        rows.append(cells)
    counts = [max((score.count for score in known.scores.values()), default=0) for known in evaluation.known]
    padding = [Cell("")] * (len(columns) - 1 - len(counts))
    rows.append([Cell("views scored"), *(Cell(f"{count:,}") for count in counts), *padding])
    return Table(f"Table I: quality by the number of known views. {about_paper}".strip(), columns, rows)


def _unavailable(evaluation: Evaluation) -> list[Block]:
    return [
        Note(f"{metric(name).title} is not available: {state.reason or 'no reason was given'}")
        for name, state in evaluation.metrics.items()
        if not state.available
    ]


def _chart(label: str, evaluation: Evaluation, name: str) -> Picture | None:
    if not _scored(evaluation, name):
        return None
    shown = metric(name)
    scores = [known.scores.get(name, Score()) for known in evaluation.known]
    values = [None if score.mean is None else score.mean * shown.factor for score in scores]
    intervals = [
        None if (ends := bounds(score)) is None else (ends[0] * shown.factor, ends[1] * shown.factor)
        for score in scores
    ]
    places = [str(known.known) for known in evaluation.known]
    title = f"{shown.short_heading} ({shown.direction})" if shown.direction else shown.short_heading
    return bars(
        slug("quality", label, name),
        title,
        places,
        [Series(shown.heading, values, intervals)],
        labels=("known views", shown.short_heading),
        digits=shown.digits,
    )


def _breakdown(
    caption: str, what: str, rows: dict[str, dict[int, dict[str, Score]]], counts: dict[str, int] | None = None
) -> Table:
    numbers = sorted({number for by_known in rows.values() for number in by_known})
    names = {name for by_known in rows.values() for scores in by_known.values() for name in scores}
    metrics = [
        name
        for name in _in_order(names)
        if any(scores.get(name, Score()).mean is not None for by in rows.values() for scores in by.values())
    ]
    columns = [Column(what, numeric=False), *([Column("objects")] if counts else [])]
    columns += [Column(f"{number} known", _heading(name)) for name in metrics for number in numbers]
    body = [
        [
            Cell(title),
            *([Cell(str(counts[title]))] if counts else []),
            *(
                Cell(score_cell(name, by_known.get(number, {}).get(name)).text)
                for name in metrics
                for number in numbers
            ),
        ]
        for title, by_known in rows.items()
    ]
    return Table(caption, columns, body)


def _sheets(part: Part[Evaluation]) -> list[Block]:
    by = metric(part.record.sheet_metric).title if part.record.sheet_metric else "quality"
    pictures = []
    for which in ("best", "median", "worst"):
        if name := part.record.sheets.get(which):
            caption = f"The {which} objects by {by}, one view known (framed)."
            pictures.append(_sheet(part, name, slug("sheet", part.label, f"{which}.png"), caption))
    return [Pictures(pictures, wide=True)] if pictures else []


def _sheet(part: Part[Evaluation], name: str, as_name: str, caption: str) -> Picture:
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
    return Picture(as_name, data, f"Contact sheet. {caption}", caption, size)
