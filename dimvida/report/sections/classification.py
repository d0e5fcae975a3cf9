"""Accuracies with and without generated views: the paper's Tables II and III."""

from __future__ import annotations

from collections.abc import Sequence

from dimvida.report import paper
from dimvida.report.charts import Series, bars
from dimvida.report.document import Block, Cell, Column, Heading, Note, Picture, Pictures, Section, Table, Text
from dimvida.report.reading import Part, Runs
from dimvida.report.records import Accuracy, Classification, ClassifierCell
from dimvida.report.wording import AVERAGES, MODELS, TABLES, TERMS, accuracy_cell, classifier_name, slug
from dimvida.results.metrics import DASH

QUOTED = "paper, NMR"
PAPER_TESTS = ("e", "ea")
TITLES = {
    "scratch": "Table II: classifiers trained from scratch",
    "finetuned": "Table III: classifiers fine-tuned from weights trained elsewhere",
}


def classification_section(runs: Runs) -> Section:
    """Tables II and III of every classification beside the paper's."""
    blocks: list[Block] = []
    for part in runs.classifications:
        if len(runs.classifications) > 1:
            blocks.append(Heading(part.label))
        blocks += _blocks(part, runs.about_the_paper(part.record.data))
    if not runs.classifications:
        command = "dimvida classify --data DATA --checkpoint RUN --out DIR"
        blocks.append(Note("No classifiers among these runs. To train and test them:", "missing", command))
    return Section("classification", "Classification with generated views", blocks)


def ordered_tests(cells: Sequence[ClassifierCell]) -> list[tuple[str, str]]:
    """The (test, average) pairs of some cells: single views first, then the averages in a fixed order."""
    pairs = {(cell.test, cell.average) for cell in cells}
    rank = {average: number for number, average in enumerate(AVERAGES)}
    return sorted(pairs, key=lambda pair: (pair[0], rank.get(pair[1], len(rank)), pair[1]))


def _blocks(part: Part[Classification], about_paper: str) -> list[Block]:
    record = part.record
    blocks: list[Block] = [Text(_protocol(record))]
    if record.note and not record.too_weak:  # the warning stands in the summary, beside the gains
        blocks.append(Note(record.note))
    blocks += [Note(note) for note in record.notes]
    for table, kind in TABLES.items():
        cells = [cell for cell in record.cells if cell.table == table]
        if cells:
            blocks += [_table(table, cells, about_paper), Pictures(_charts(part.label, table, cells))]
        else:
            weights = " --weights imagenet" if table == "finetuned" else ""
            command = f"dimvida classify --data DATA --checkpoint RUN --out DIR{weights}"
            blocks.append(Note(f"No classifiers {kind} in {part.label}. To add them:", "missing", command))
    return blocks


def _protocol(record: Classification) -> str:
    sizes = ", ".join(f"{name}: {count}" for name, count in record.partitions.items() if count is not None)
    facts = [f"{record.data} in {len(record.classes)} classes"]
    facts += [f"objects in the partitions {sizes}"] if sizes else []
    facts += [f"views generated with {record.solver}, {record.steps} steps"] if record.solver else []
    text = f"{'; '.join(facts)}. "
    if record.coherence is not None and record.coherence.mean is not None:
        error = record.coherence.standard_error
        margin = "" if error is None else f" ± {100 * error:.1f} (standard error)"
        text += f"Coherence of the generated views: {100 * record.coherence.mean:.1f} %{margin}. "
    return f"{text}{TERMS} Accuracy in %, ± is the deviation over seeds."


def _table(table: str, cells: Sequence[ClassifierCell], about_paper: str) -> Table:
    tests = ordered_tests(cells)
    found = {(c.classifier, c.train, c.budget, c.test, c.average): c for c in cells}
    columns = [Column("classifier", numeric=False), Column("trained on", numeric=False)]
    columns += [Column(_test_title(test), "this run, tested on") for test in tests]
    columns += [Column(test, QUOTED, quoted=True) for test in PAPER_TESTS] if about_paper else []
    rows = []
    for classifier, train, budget in dict.fromkeys((c.classifier, c.train, c.budget) for c in cells):
        same = [c for c in cells if (c.classifier, c.train, c.budget) == (classifier, train, budget)]
        quoted = paper.CLASSIFICATION[table].get(classifier, {}).get(train, {})
        row = [Cell(classifier_name(classifier)), Cell(_train_title(same[0]), _budget(same[0]))]
        for test in tests:
            cell = found.get((classifier, train, budget, *test))
            row.append(accuracy_cell(cell and cell.accuracy))
        row += [Cell(quoted.get(test, DASH)) for test in PAPER_TESTS] if about_paper else []
        rows.append(row)
    return Table(f"{TITLES[table]}. {about_paper}".strip(), columns, rows)


def _charts(label: str, table: str, cells: Sequence[ClassifierCell]) -> list[Picture]:
    return [
        _chart(label, table, classifier, [cell for cell in cells if cell.classifier == classifier])
        for classifier in dict.fromkeys(cell.classifier for cell in cells)
    ]


def _chart(label: str, table: str, classifier: str, cells: Sequence[ClassifierCell]) -> Picture:
    groups = list(dict.fromkeys((cell.train, cell.budget) for cell in cells))
    found = {(cell.train, cell.budget, cell.test, cell.average): cell.accuracy for cell in cells}
    series = []
    for test in ordered_tests(cells):
        accuracies = [found.get((*group, *test)) for group in groups]
        series.append(
            Series(
                _test_title(test),
                [None if a is None or a.mean is None else 100 * a.mean for a in accuracies],
                [interval(a) for a in accuracies],
            )
        )
    several = len({budget for _, budget in groups}) > 1
    places = [f"{train}\nequal {budget}" if several else train for train, budget in groups]
    title = f"{classifier_name(classifier)} {TABLES[table]}"
    caption = "Error bars: deviation over seeds." if any(any(line.intervals) for line in series) else ""
    name = slug("accuracy", label, table, classifier)
    return bars(name, title, places, series, labels=("trained on", "accuracy, %"), digits=1, caption=caption)


def interval(accuracy: Accuracy | None) -> tuple[float, float] | None:
    """The ends of an error bar in percent: one deviation over the seeds to each side."""
    if accuracy is None or accuracy.mean is None or accuracy.deviation is None:
        return None
    return 100 * (accuracy.mean - accuracy.deviation), 100 * (accuracy.mean + accuracy.deviation)


def _test_title(test: tuple[str, str]) -> str:
    name, average = test
    return name if average == "single" else f"{name}, {AVERAGES.get(average, average)}"


def _train_title(cell: ClassifierCell) -> str:
    model = MODELS.get(cell.model, cell.model)
    return f"{cell.train} ({model})" if model else cell.train


def _budget(cell: ClassifierCell) -> str:
    steps = "" if cell.train_steps is None else f", {cell.train_steps:,} steps"
    return f"equal {cell.budget}{steps}" if cell.budget == "epochs" else steps.removeprefix(", ")
