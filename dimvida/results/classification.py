"""A classification in tables, for the terminal and the report, and the names of things in them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from dimvida.results.metrics import ACCURACY, DASH, p_value, points
from dimvida.results.schema import Accuracy, AccuracyCell, ClassificationResult, Comparison
from dimvida.results.tables import Column, Table, TableCell, text_column

CLASSIFIER_NAMES = {
    "resnet18": "ResNet18",
    "mobilenet-v3-large": "MobileNetV3-Large",
    "mobilenet-v3-small": "MobileNetV3-Small",
}
TABLES = {"scratch": "from scratch", "finetuned": "fine-tuned"}  # those of the paper
TITLES = {
    "scratch": "Table II: classifiers trained from scratch",
    "finetuned": "Table III: classifiers fine-tuned from weights trained elsewhere",
}
AVERAGE_NAMES = {
    "single": "single view",
    "probabilities": "mean of probabilities",
    "logits": "mean of logits",
    "confidence": "weighted by confidence",
}
MODELS = {"omega_s": "Ωs", "omega_m": "Ωm"}


DETAILS: dict[str, Callable[[AccuracyCell], str | int | None]] = {
    "average": lambda cell: average_name(cell.average),
    "views": lambda cell: cell.views,
    "samples": lambda cell: cell.samples_per_view,
    "sampler steps": lambda cell: cell.sampler_steps,
}
"""How a cell is tested on ea, by what it is called over a column."""


@dataclass(frozen=True, slots=True)
class Question:
    """One question beyond the paper.

    Attributes:
        title: The question, as the heading of its table.
        detail: Which of ``DETAILS`` it is about; "" where it is about how classifiers were trained.
        axis: What that is called beside an axis, if it is a number.
    """

    title: str
    detail: str = ""
    axis: str = ""


QUESTIONS = {
    "averaging": Question("Ways to average over views", "average"),
    "samples": Question("Several samples of each generated view", "samples", "samples per missing view"),
    "augmentation": Question("Standard augmentation (taw: TrivialAugmentWide), generated views, and both"),
    "views": Question("Views that an answer comes from", "views", "views averaged at test time"),
    "steps": Question("Network evaluations of the sampler", "sampler steps", "sampler steps"),
}


def classifier_name(name: str) -> str:
    """A classifier's name as people write it."""
    return CLASSIFIER_NAMES.get(name, name)


def average_name(name: str) -> str:
    """How the outputs of several views become one, in words."""
    return AVERAGE_NAMES.get(name, name)


def trained_on(cell: AccuracyCell) -> str:
    """A training set in short, with the number of samples of each generated view if there are several."""
    return cell.train + (f" ×{cell.train_samples_per_view}" if cell.train_samples_per_view > 1 else "")


def cell_name(cell: AccuracyCell) -> str:
    """A cell in words, such as ``ResNet18 from scratch, ca on ea (mean of probabilities)``."""
    kind = TABLES.get(cell.table, cell.group or cell.table)
    extra = [average_name(cell.average)] if cell.average != "single" else []
    if cell.table == "beyond":
        extra += [f"{cell.views} views"] if cell.views else []
        extra += [f"{cell.samples_per_view} samples"] if (cell.samples_per_view or 1) > 1 else []
        extra += [f"{cell.sampler_steps} steps"] if cell.sampler_steps else []
    extra += ["equal epochs"] if cell.budget == "epochs" else []
    words = f"{classifier_name(cell.classifier)} {kind}, {trained_on(cell)} on {cell.test}"
    return words + (f" ({', '.join(extra)})" if extra else "")


def ordered_tests(cells: Sequence[AccuracyCell]) -> list[tuple[str, str]]:
    """The (test, average) pairs of some cells: single views first, then the averages in a fixed order."""
    pairs = {(cell.test, cell.average) for cell in cells}
    rank = {average: number for number, average in enumerate(AVERAGE_NAMES)}
    return sorted(pairs, key=lambda pair: (pair[0], rank.get(pair[1], len(rank)), pair[1]))


def inference_title(test: tuple[str, str]) -> str:
    """A (test, average) pair in words."""
    name, average = test
    return name if average == "single" else f"{name}, {average_name(average)}"


def table_cells(result: ClassificationResult, table: str) -> list[AccuracyCell]:
    """The cells of one of the paper's tables."""
    return [cell for cell in result.cells if cell.table == table]


def accuracy_table(result: ClassificationResult, table: str) -> Table:
    """One of the paper's tables: what was trained on in rows, what was tested on in columns."""
    cells = table_cells(result, table)
    tests = ordered_tests(cells)
    found = {(*row_key(cell), cell.test, cell.average): cell.accuracy for cell in cells}
    columns = [text_column("classifier"), text_column("trained on")]
    columns += [Column(inference_title(test), "this run, tested on", narrow=inference_title(test)) for test in tests]
    firsts = {}
    for cell in cells:
        firsts.setdefault(row_key(cell), cell)
    rows = []
    for key, cell in firsts.items():
        model = MODELS.get(cell.model, cell.model)
        train = f"{cell.train} ({model})" if model else cell.train
        start = [TableCell(classifier_name(cell.classifier)), TableCell(train, _budget(cell))]
        rows.append(start + [accuracy_cell(found.get((*key, *test))) for test in tests])
    seeds = max((len(cell.accuracy.values) for cell in cells), default=0)
    spread = f", ± deviation over {seeds} seeds" if seeds > 1 else ", 1 seed" if seeds else ""
    return Table(f"{TITLES[table]}. Accuracy in %{spread}.", columns, rows)


def questions_of(result: ClassificationResult) -> dict[str, list[AccuracyCell]]:
    """The cells beyond the paper's tables, by question."""
    groups: dict[str, list[AccuracyCell]] = {}
    for cell in result.cells:
        if cell.table not in TABLES:
            groups.setdefault(cell.group or "other", []).append(cell)
    return groups


def question_table(result: ClassificationResult, name: str, cells: Sequence[AccuracyCell]) -> Table:
    """The answer to one question, with McNemar's test against the first row of each classifier where it was made.

    How ea is tested has a column where that is what is asked or where it differs, else it stands in the caption.
    """
    question = QUESTIONS.get(name, Question(name))
    averaged = [cell for cell in cells if cell.test == "ea"]
    values = {detail: list(dict.fromkeys(map(of, averaged))) for detail, of in DETAILS.items()}
    shown = [detail for detail in DETAILS if detail == question.detail or len(values[detail]) > 1]
    same = [f"{detail} {found[0]}" for detail, found in values.items() if detail not in shown and any(found)]
    p_values = {pair.b: pair.p for pair in result.comparisons}
    tested = any(cell.id in p_values for cell in cells)
    columns = [text_column("classifier"), text_column("trained on"), text_column("tested on")]
    columns += [Column(detail, numeric=detail != "average") for detail in shown]
    columns += [Column(ACCURACY.heading), *([Column("p")] if tested else [])]
    rows = []
    for cell in cells:
        row = [TableCell(classifier_name(cell.classifier)), TableCell(trained_on(cell)), TableCell(cell.test)]
        row += [TableCell(str(DETAILS[detail](cell) or DASH)) for detail in shown]
        row += [accuracy_cell(cell.accuracy)]
        row += [TableCell(p_value(p_values[cell.id]) if cell.id in p_values else "")] if tested else []
        rows.append(row)
    caption = question.title + (", p against the first row" if tested else "")
    caption += f"; ea: {', '.join(same)}" if same else ""
    return Table(f"{caption}.", columns, rows)


def comparison_table(result: ClassificationResult) -> Table:
    """Every one of McNemar's tests, with the cells that it compares in words."""
    names = {cell.id: cell_name(cell) for cell in result.cells}
    columns = [text_column("A"), text_column("B"), Column("only A right"), Column("only B right"), Column("p")]
    rows = [
        [TableCell(names.get(pair.a, pair.a)), TableCell(names.get(pair.b, pair.b)), *_counts(pair)]
        for pair in result.comparisons
    ]
    return Table("McNemar's tests between cells of the tables.", columns, rows)


def first_comparison_table(result: ClassificationResult, table: str) -> Table | None:
    """McNemar's tests against the first cell of each classifier in one of the paper's tables; None without any."""
    names = {cell.id: cell for cell in result.cells}
    firsts = {cell.classifier: cell.id for cell in reversed(table_cells(result, table))}
    rows = []
    for pair in result.comparisons:
        if pair.a in firsts.values():
            other = names[pair.b]
            compared = f"{other.train} on {other.test}" + (", epochs" if other.budget == "epochs" else "")
            rows.append([TableCell(classifier_name(other.classifier)), TableCell(compared), *_counts(pair)])
    columns = [text_column("classifier"), text_column("the other"), Column("only c on e"), Column("only other")]
    title = f"Classifiers {TABLES[table]}, McNemar's test: objects that only c on e, or only the other, has right"
    return Table(title, [*columns, Column("p")], rows) if rows else None


def printed_tables(result: ClassificationResult) -> Iterator[Table]:
    """What ``dimvida classify`` prints: the paper's tables, those beyond them, then McNemar's tests of the paper's."""
    shown = [table for table in TABLES if table_cells(result, table)]
    for table in shown:
        yield accuracy_table(result, table)
    for name, cells in questions_of(result).items():
        yield question_table(result, name, cells)
    yield from filter(None, (first_comparison_table(result, table) for table in shown))


def claims(result: ClassificationResult) -> list[tuple[AccuracyCell, AccuracyCell]]:
    """The paper's claim for each classifier that it can be seen of: two cells with as many optimiser steps.

    The first was trained on c and is tested on e, the second trained on ca and tested on ea.
    """
    pairs = []
    for table in TABLES:
        cells = table_cells(result, table)
        for classifier in dict.fromkeys(cell.classifier for cell in cells):
            pair = claim([cell for cell in cells if cell.classifier == classifier])
            pairs += [pair] if pair else []
    return pairs


def claim(cells: Sequence[AccuracyCell]) -> tuple[AccuracyCell, AccuracyCell] | None:
    """The paper's claim, as in ``claims``, among the cells of one classifier; None unless both cells are there."""
    cells = [cell for cell in cells if cell.budget == "steps" and not math.isnan(cell.accuracy.mean)]
    single = [cell for cell in cells if (cell.train, cell.test) == ("c", "e")]
    averaged = [cell for cell in cells if (cell.train, cell.test) == ("ca", "ea")]
    if not single or not averaged:
        return None
    first = ordered_tests(averaged)[0]  # the mean of probabilities where there are several
    return single[0], next(cell for cell in averaged if (cell.test, cell.average) == first)


def claim_table(result: ClassificationResult) -> Table | None:
    """Ωs on single real views against Ωm averaged over views; None where no classifier has both."""
    tests = {frozenset((pair.a, pair.b)): pair.p for pair in result.comparisons}
    rows = [
        [
            TableCell(f"{classifier_name(single.classifier)} {TABLES[single.table]}"),
            accuracy_cell(single.accuracy),
            accuracy_cell(averaged.accuracy),
            TableCell(points(averaged.accuracy.mean - single.accuracy.mean)),
            TableCell(p_value(tests.get(frozenset((single.id, averaged.id))))),
        ]
        for single, averaged in claims(result)
    ]
    columns = [text_column("classifier"), *map(Column, ("Ωs on e, %", "Ωm on ea, %", "gain, points", "p (McNemar)"))]
    caption = "One real view (Ωs on e) against the mean over it and generated ones (Ωm on ea)."
    return Table(caption, columns, rows) if rows else None


def accuracy_cell(accuracy: Accuracy | None) -> TableCell:
    """An accuracy in percent with its deviation over the seeds, or a dash."""
    if accuracy is None or math.isnan(accuracy.mean):
        return TableCell(DASH)
    detail = "" if accuracy.deviation is None else f"± {ACCURACY.number(accuracy.deviation)}"
    return TableCell(ACCURACY.number(accuracy.mean), detail)


def deviation(accuracy: Accuracy | None) -> tuple[float, float] | None:
    """One deviation over the seeds to each side of an accuracy; None without one."""
    if accuracy is None or math.isnan(accuracy.mean) or accuracy.deviation is None:
        return None
    return accuracy.mean - accuracy.deviation, accuracy.mean + accuracy.deviation


def row_key(cell: AccuracyCell) -> tuple[str, str, str]:
    return cell.classifier, cell.train, cell.budget


def _budget(cell: AccuracyCell) -> str:
    words = ["equal epochs"] if cell.budget == "epochs" else []
    return ", ".join(words + ([] if cell.train_steps is None else [f"{cell.train_steps:,} steps"]))


def _counts(pair: Comparison) -> list[TableCell]:
    return [TableCell(str(pair.only_a)), TableCell(str(pair.only_b)), TableCell(p_value(pair.p))]
