"""An evaluation in tables: those that ``dimvida evaluate`` prints and those of the report."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from dimvida.results.metrics import DASH, in_order, metric
from dimvida.results.schema import Estimate, EvaluationResult, Scores
from dimvida.results.tables import Column, Table, TableCell, text_column

FID_PICTURES = 2048  # its features: fewer pictures leave their covariance singular
MOST_COLUMNS = 4  # of metrics in a table on a terminal
Breakdown = Literal["view", "class", "angle"]
CEILING, TRUE = "ceiling", "true views"


def score_tables(result: EvaluationResult) -> list[Table]:
    """The scores by number of known views in tables that fit a terminal, with the ceiling and the true views."""
    measured = _names(known.scores for known in result.known)
    return [score_table(result, names) for names in _narrow(measured)]


def score_table(result: EvaluationResult, names: Sequence[str]) -> Table:
    """Scores by number of known views: a row for each number, then one for the ceiling and one for the true views."""
    rows = []
    for known in result.known:
        sets = str(known.subsets)
        if known.subsets < known.subsets_total:
            sets += f" of {known.subsets_total}"
        rows.append(
            [TableCell(str(known.known)), TableCell(sets), _pictures(known.scores)] + _cells(known.scores, names)
        )
    for title, comparands in ((CEILING, result.reconstruction), (TRUE, result.reference)):
        if comparands is not None and any(name in comparands.scores for name in names):
            rows.append([TableCell(title), TableCell(""), TableCell("")] + _cells(comparands.scores, names))
    columns = [Column("known"), Column("sets"), Column("views"), *map(metric_column, names)]
    return Table("mean over views ± half of the 95 % interval", columns, rows)


def score_table_by_metric(result: EvaluationResult, names: Sequence[str]) -> Table:
    """Scores with a row for each metric, as the paper's Table I has it, and one for how many views were scored."""
    table = score_table(result, names)
    titles, _, counts, *scores = zip(*table.rows, strict=True)
    columns = [text_column("metric")]
    for title in titles:
        columns.append(
            Column("reconstruction" if title.text == CEILING else title.text, "ceilings")
            if title.text in (CEILING, TRUE)
            else Column(title.text, "this run, known views")
        )
    rows = [[TableCell(metric_column(name).title), *cells] for name, cells in zip(names, scores, strict=True)]
    return Table(
        "Table I: quality by the number of known views.", columns, [*rows, [TableCell("views scored"), *counts]]
    )


def breakdown_tables(result: EvaluationResult, by: Breakdown) -> list[Table]:
    """The scores of every view, every class, or trained and other angles, by itself, in tables that fit a terminal."""
    parts = _parts(result, by)
    names = _names(scores for by_known in parts.values() for scores in by_known.values())
    tables = []
    for chosen in _narrow(names):
        rows = [
            [TableCell(str(known.known)), TableCell(part), _pictures(scores), *_cells(scores, chosen)]
            for known in result.known
            for part, by_known in parts.items()
            if (scores := by_known.get(known.known)) and any(score.pictures for score in scores.values())
        ]
        columns = [Column("known"), Column(by), Column("views"), *map(metric_column, chosen)]
        tables.append(Table(f"by {by}", columns, rows))
    return tables


def breakdown_table(result: EvaluationResult, by: Breakdown, names: Sequence[str]) -> Table:
    """Scores of every view, class or kind of angle in one table, a row each, without intervals; no column is empty."""
    parts = _parts(result, by)
    numbers = sorted({number for by_known in parts.values() for number in by_known})
    names = [
        name
        for name in names
        if any(name in scores and scores[name].is_measured for by in parts.values() for scores in by.values())
    ]
    objects = {entry.name: entry.objects for entry in result.per_class} if by == "class" else {}
    columns = [text_column(by), *([Column("objects")] if objects else [])]
    columns += [Column(f"{number} known", metric_column(name).title) for name in names for number in numbers]
    rows = [
        [
            TableCell(part),
            *([TableCell(str(objects[part]))] if objects else []),
            *(
                TableCell(score_cell(name, by_known.get(number, {}).get(name)).text)
                for name in names
                for number in numbers
            ),
        ]
        for part, by_known in parts.items()
    ]
    return Table({"view": "By generated view", "class": "By class", "angle": "By angle"}[by], columns, rows)


def notes(result: EvaluationResult) -> list[str]:
    """What a reader of the scores has to know: sets that were drawn, few pictures, equal pictures."""
    lines = []
    for known in result.known:
        if known.subsets < known.subsets_total:
            lines.append(
                f"{known.known} known: {known.subsets} of {known.subsets_total} sets, drawn at random (--subsets)"
            )
        fid = known.scores.get("fid")
        if fid is not None and fid.count < FID_PICTURES:
            lines.append(
                f"{known.known} known: FID of {fid.count} pictures; with fewer than {FID_PICTURES} it is far too high "
                "and compares only with FID of as many"
            )
    compared = [known.scores for known in result.known] + [
        result.reconstruction.scores if result.reconstruction else {}
    ]
    equal = sum(scores["psnr"].equal or 0 for scores in compared if "psnr" in scores)
    if equal:
        lines.append(f"{equal} views equal the true ones exactly; PSNR is infinite there and leaves them out")
    return lines


def unavailable(result: EvaluationResult) -> dict[str, str]:
    """Metrics that could not be measured, as people call them, and why."""
    return {
        metric(name).short: state.reason or "no reason was given"
        for name, state in result.metrics.items()
        if not state.available
    }


def metric_column(name: str) -> Column:
    """A column of a metric's values, with the direction that is better where it is known."""
    shown = metric(name)
    return Column(f"{shown.heading} {shown.arrow}".rstrip(), narrow=shown.short_heading)


def score_cell(name: str, score: Estimate | None) -> TableCell:
    """A metric's value with its 95 % interval, or a dash."""
    if score is None or not score.is_measured:
        return TableCell(DASH)
    shown, ends = metric(name), score.interval()
    if ends is None:
        return TableCell(shown.number(score.mean))
    half = max(ends[1] - score.mean, score.mean - ends[0])
    return TableCell(shown.number(score.mean), " – ".join(map(shown.number, ends)), f"± {shown.number(half)}")


def _parts(result: EvaluationResult, by: Breakdown) -> dict[str, dict[int, Scores]]:
    """Scores of each view, class or kind of angle by the number of known views."""
    of_views = (result.per_angle or []) if by == "angle" else result.per_view
    entries = (
        [(entry.name, entry.known, entry.scores) for entry in result.per_class]
        if by == "class"
        else [(entry.view, entry.known, entry.scores) for entry in of_views]
    )
    parts: dict[str, dict[int, Scores]] = {}
    for part, known, scores in entries:
        parts.setdefault(part, {})[known] = scores
    return parts


def _names(several: Iterable[Scores]) -> list[str]:
    return in_order(name for scores in several for name in scores)


def _narrow(names: Sequence[str]) -> list[list[str]]:
    """Metrics in groups, so that a table fits 80 columns: at most ``MOST_COLUMNS`` of one kind."""
    kinds = [[name for name in names if metric(name).of_pictures is each] for each in (True, False)]
    return [kind[start : start + MOST_COLUMNS] for kind in kinds for start in range(0, len(kind), MOST_COLUMNS)]


def _pictures(scores: Scores) -> TableCell:
    return TableCell(f"{max((score.pictures for score in scores.values()), default=0):,}")


def _cells(scores: Scores, names: Sequence[str]) -> list[TableCell]:
    return [score_cell(name, scores.get(name)) for name in names]
