"""Differences between classifiers: the effect of generated views, McNemar's tests, confusion matrices."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dimvida.report import paper
from dimvida.report.document import Block, Cell, Column, Heading, Matrices, Matrix, Note, Section, Table, Text
from dimvida.report.reading import Part
from dimvida.report.records import Classification, ClassifierCell
from dimvida.report.sections.classification import ordered_tests
from dimvida.report.wording import TABLES, accuracy_cell, cell_name, classifier_name
from dimvida.results.metrics import DASH, p_value, points

MOST_CLASSES = 40  # larger confusion matrices are in report.json only


def effect_table(record: Classification, about_paper: str) -> Table | None:
    """Ωs on single real views against Ωm averaged over views, which is the paper's claim; None without both."""
    rows: list[list[Cell]] = []
    for cells in _by_classifier(record):
        pair = claim(cells)
        if pair is None:
            continue
        single, averaged = pair
        rows.append([
            Cell(f"{classifier_name(single.classifier)} {TABLES[single.table]}"),
            accuracy_cell(single.accuracy),
            accuracy_cell(averaged.accuracy),
            Cell(points(gain(single, averaged))),
            Cell(p_value(_p_of(record, single, averaged))),
            *([Cell(_paper_gain(single))] if about_paper else []),
        ])  # fmt: skip
    if not rows:
        return None
    columns = [
        Column("classifier", numeric=False),
        Column("Ωs on e, %"),
        Column("Ωm on ea, %"),
        Column("gain, points"),
        Column("p (McNemar)"),
        *([Column("paper's gain, NMR", quoted=True)] if about_paper else []),
    ]
    caption = f"One real view (Ωs on e) against the mean over it and generated ones (Ωm on ea). {about_paper}"
    return Table(caption.strip(), columns, rows)


def weak_generator(record: Classification) -> str:
    """The warning of a weak generator, reconciled with the gains where there are some all the same; "" without one."""
    if not record.too_weak:
        return ""
    warning = record.note or "The generator is too weak for averaging over its views to help."
    pairs = filter(None, (claim(cells) for cells in _by_classifier(record)))
    if not any(gain(single, averaged) > 0 for single, averaged in pairs):
        return warning
    return (
        f"{warning} The gains below are no contradiction: this warning is about a classifier of many real views that "
        "has never seen a generated one, while Ωm was trained on generated views and is compared with an Ωs that has "
        "a single view of each object."
    )


def gain(single: ClassifierCell, averaged: ClassifierCell) -> float:
    """Difference of two accuracies, which both are there."""
    return (averaged.accuracy.mean or 0) - (single.accuracy.mean or 0)


def _by_classifier(record: Classification) -> Iterator[list[ClassifierCell]]:
    """The cells of the paper's tables, those of one classifier in one table at a time."""
    for table in TABLES:
        cells = [cell for cell in record.cells if cell.table == table]
        for classifier in dict.fromkeys(cell.classifier for cell in cells):
            yield [cell for cell in cells if cell.classifier == classifier]


def _paper_gain(cell: ClassifierCell) -> str:
    quoted = paper.CLASSIFICATION[cell.table].get(cell.classifier)
    return DASH if quoted is None else points((float(quoted["ca"]["ea"]) - float(quoted["c"]["e"])) / 100)


def claim(cells: Sequence[ClassifierCell]) -> tuple[ClassifierCell, ClassifierCell] | None:
    """Of one classifier's cells: trained on c, tested on e; trained on ca, tested on ea, with as many steps."""
    cells = [cell for cell in cells if cell.budget == "steps" and cell.accuracy.mean is not None]
    single = [cell for cell in cells if (cell.train, cell.test) == ("c", "e")]
    averaged = [cell for cell in cells if (cell.train, cell.test) == ("ca", "ea")]
    if not single or not averaged:
        return None
    first = ordered_tests(averaged)[0]  # the mean of probabilities where there are several
    return single[0], next(cell for cell in averaged if (cell.test, cell.average) == first)


def comparisons_section(parts: Sequence[Part[Classification]]) -> Section:
    """McNemar's tests of every classification."""
    blocks: list[Block] = []
    for part in parts:
        if not part.record.comparisons:
            continue
        if len(parts) > 1:
            blocks.append(Heading(part.label))
        blocks.append(_tests(part.record))
    if blocks:
        text = (
            "McNemar's test asks whether two classifiers of the same objects differ: it looks at the objects that only "
            "one of them has right. The p values are not corrected for their number."
        )
        blocks.insert(0, Text(text))
    else:
        command = "dimvida classify --data DATA --checkpoint RUN --out DIR"
        blocks.append(Note("No comparisons among these runs. To make them:", "missing", command))
    return Section("comparisons", "Comparisons", blocks)


def confusion_section(parts: Sequence[Part[Classification]]) -> Section:
    """Confusion matrices on e and on ea of each classifier."""
    blocks: list[Block] = []
    for part in parts:
        cells = [cell for cell in part.record.cells if cell.table in TABLES and cell.confusion]
        if cells and len(parts) > 1:
            blocks.append(Heading(part.label))
        if cells and len(part.record.classes) > MOST_CLASSES:
            blocks.append(Note(f"{len(part.record.classes)} classes are too many to show; report.json has the counts."))
            continue
        for table in TABLES:
            for classifier in dict.fromkeys(cell.classifier for cell in cells if cell.table == table):
                members = [cell for cell in cells if (cell.table, cell.classifier) == (table, classifier)]
                blocks.append(Matrices([_matrix(part.record, cell) for cell in _shown(members)]))
    if not blocks:
        command = "dimvida classify --data DATA --checkpoint RUN --out DIR"
        blocks.append(Note("No confusion matrices among these runs. To make them:", "missing", command))
    return Section("confusion", "Confusion matrices", blocks)


def _shown(cells: Sequence[ClassifierCell]) -> list[ClassifierCell]:
    """The paper's pair, or the first cell on e and on ea; report.json has all."""
    pair = claim(cells)
    if pair is not None:
        return list(pair)
    firsts = [next((cell for cell in cells if cell.test == test), None) for test in ("e", "ea")]
    return [cell for cell in firsts if cell is not None]


def _matrix(record: Classification, cell: ClassifierCell) -> Matrix:
    counts = cell.confusion or []
    names = record.classes if len(record.classes) == len(counts) else [str(number) for number in range(len(counts))]
    text = f"{cell_name(cell)}: objects by true class (rows) and predicted class (columns), summed over seeds."
    return Matrix(text, names, counts)


def _tests(record: Classification) -> Table:
    names = {cell.id: cell_name(cell) for cell in record.cells}
    rows = [
        [
            Cell(names.get(test.a, test.a)),
            Cell(names.get(test.b, test.b)),
            Cell(str(test.only_a)),
            Cell(str(test.only_b)),
            Cell(p_value(test.p)),
        ]
        for test in record.comparisons
    ]
    columns = [
        Column("A", numeric=False),
        Column("B", numeric=False),
        Column("only A right"),
        Column("only B right"),
        Column("p"),
    ]
    return Table("McNemar's tests between cells of the tables.", columns, rows)


def _p_of(record: Classification, one: ClassifierCell, other: ClassifierCell) -> float | None:
    wanted = {one.id, other.id}
    return next((test.p for test in record.comparisons if {test.a, test.b} == wanted), None)
