"""What the paper leaves open: other averages, several samples, other augmentation, fewer views, fewer steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dimvida.report.charts import Series, lines
from dimvida.report.document import Block, Cell, Column, Heading, Note, Picture, Pictures, Section, Table, Text
from dimvida.report.reading import Part
from dimvida.report.records import Classification, ClassifierCell, Diversity
from dimvida.report.sections.classification import interval
from dimvida.report.wording import AVERAGES, accuracy_cell, classifier_name, slug, trained_on
from dimvida.results.metrics import DASH

Value = Callable[[ClassifierCell], int | None]


@dataclass(frozen=True, slots=True)
class Group:
    """One question: its title and, where it is about a number, that number and its name on an axis."""

    title: str
    axis: str = ""
    value: Value | None = None


GROUPS = {
    "averaging": Group("How the views' outputs are averaged"),
    "augmentation": Group("Standard augmentation, generated views, and both"),
    "samples": Group("Several samples per missing view", "samples per missing view", lambda c: c.samples_per_view),
    "views": Group("Accuracy against the number of views", "views averaged at test time", lambda c: c.views),
    "steps": Group("Accuracy against the sampler's steps", "sampler steps", lambda c: c.sampler_steps),
}

# Columns of a table, left out where no cell has a value.
_COLUMNS: tuple[tuple[str, bool, Callable[[ClassifierCell], str]], ...] = (
    ("classifier", False, lambda c: classifier_name(c.classifier)),
    ("trained on", False, trained_on),
    ("tested on", False, lambda c: c.test),
    ("average", False, lambda c: AVERAGES.get(c.average, c.average)),
    ("views", True, lambda c: "" if c.views is None else str(c.views)),
    ("samples", True, lambda c: "" if c.samples_per_view is None else str(c.samples_per_view)),
    ("sampler steps", True, lambda c: "" if c.sampler_steps is None else str(c.sampler_steps)),
)


def beyond_section(parts: Sequence[Part[Classification]]) -> Section:
    """The rows beyond the paper's tables, one table per question."""
    blocks: list[Block] = []
    for part in parts:
        cells = [cell for cell in part.record.cells if cell.table not in ("scratch", "finetuned")]
        if cells and len(parts) > 1:
            blocks.append(Heading(part.label))
        if (diversity := part.record.diversity) is not None:
            blocks.append(Text(_spread(diversity)))
        for name in dict.fromkeys(cell.group or "other" for cell in cells):
            group = GROUPS.get(name, Group(name))
            members = [cell for cell in cells if (cell.group or "other") == name]
            blocks.append(_table(group, members))
            if group.value is not None and (chart := _chart(part.label, name, group, group.value, members)):
                blocks.append(Pictures([chart]))
    if not blocks:
        command = "dimvida classify --data DATA --checkpoint RUN --out DIR --beyond all"
        blocks.append(Note("No rows beyond the paper among these runs. To add them:", "missing", command))
    return Section("beyond", "Beyond the paper", blocks)


def _table(group: Group, cells: Sequence[ClassifierCell]) -> Table:
    shown = [column for column in _COLUMNS if any(column[2](cell) for cell in cells)]
    columns = [Column(title, numeric=numeric) for title, numeric, _ in shown]
    rows = [[*(Cell(text(cell) or DASH) for _, _, text in shown), accuracy_cell(cell.accuracy)] for cell in cells]
    return Table(f"{group.title}.", [*columns, Column("accuracy, %")], rows)


def _chart(label: str, name: str, group: Group, value: Value, cells: Sequence[ClassifierCell]) -> Picture | None:
    places = sorted({number for cell in cells if (number := value(cell)) is not None})
    if len(places) < 2:
        return None
    names = _lines(name, cells)
    found = {(line, value(cell)): cell.accuracy for line, cell in zip(names, cells, strict=True)}
    series = []
    for line in dict.fromkeys(names):
        accuracies = [found.get((line, place)) for place in places]
        values = [None if a is None or a.mean is None else 100 * a.mean for a in accuracies]
        series.append(Series(line, values, [interval(a) for a in accuracies]))
    logarithmic = "x" if places[-1] > 10 * places[0] > 0 else ""
    return lines(
        slug("beyond", label, name),
        group.title,
        places,
        series,
        labels=(group.axis, "accuracy, %"),
        digits=1,
        logarithmic=logarithmic,
        caption="Error bars: deviation over seeds." if any(any(line.intervals) for line in series) else "",
    )


def _lines(name: str, cells: Sequence[ClassifierCell]) -> list[str]:
    """Which line of a chart each cell is on."""
    several = len({cell.average for cell in cells} - {"single"}) > 1
    names = []
    for cell in cells:
        words = [classifier_name(cell.classifier), trained_on(cell)]
        # A single view is the beginning of a line over views; elsewhere it is another way to test.
        words += ["on e"] if cell.test == "e" and name != "views" else []
        words += [AVERAGES.get(cell.average, cell.average)] if several and cell.average != "single" else []
        names.append(", ".join(words))
    return names


def _spread(diversity: Diversity) -> str:
    text = f"Of the {diversity.samples_per_view} samples of a generated view"
    if diversity.pixel_deviation is not None:
        text += f", a pixel's standard deviation is {100 * diversity.pixel_deviation:.1f} % of its range"
    shares = [
        f"{100 * share:.1f} % ({classifier_name(n)})"
        for n, share in diversity.disagreement.items()
        if share is not None
    ]
    if shares:
        text += (
            f"; so many generated views have samples that a classifier puts into different classes: {', '.join(shares)}"
        )
    return f"{text}."
