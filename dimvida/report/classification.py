"""Do generated views improve classifiers? The claim, the paper's Tables II and III, what lies beyond, and errors."""

from __future__ import annotations

from collections.abc import Sequence

from dimvida.report import paper
from dimvida.report.document import Block, Matrices, Matrix, Note, Section, Text, gallery, section_by_run
from dimvida.report.reading import Part, Runs, slug
from dimvida.results.charts import BarChart, LineChart, Series
from dimvida.results.classification import (
    DETAILS,
    QUESTIONS,
    TABLES,
    Question,
    accuracy_table,
    average_name,
    cell_name,
    claim,
    claim_table,
    claims,
    classifier_name,
    comparison_table,
    deviation,
    inference_title,
    ordered_tests,
    question_table,
    questions_of,
    row_key,
    table_cells,
    trained_on,
)
from dimvida.results.metrics import ACCURACY, DASH, METRICS, percent, points
from dimvida.results.schema import Accuracy, AccuracyCell, ClassificationResult, Diversity
from dimvida.results.tables import Table

MOST_CLASSES = 40  # larger confusion matrices are in report.json only
PAPER_TESTS = ("e", "ea")
COMMAND = "dimvida classify --data DATA --checkpoint RUN --out DIR"
TERMS = (
    "Every object has one real view; the model generates the others. Ωs is a classifier trained on the real views "
    "alone (training set c), Ωm one trained on the real and the generated views (ca). Each is tested on other objects: "
    "on their real view (e), and by the mean of its outputs over their real and generated views (ea)."
)


def summary_section(runs: Runs) -> Section:
    """The effect of generated views on accuracy, at the top of the report."""
    missing = Text("The effect of generated views on accuracy stands here once dimvida classify has measured it.")

    def blocks(part: Part[ClassificationResult]) -> list[Block]:
        warning = _weak_generator(part.record)
        table = _claims(part.record, runs.about_the_paper(part.record.data))
        return [*([Note(warning, "warning")] if warning else []), *([table] if table else [])]

    title = "Do generated views help?"
    return section_by_run("summary", title, runs.classifications, blocks, missing, Text(TERMS))


def classification_section(runs: Runs) -> Section:
    """Tables II and III of every classification beside the paper's."""
    missing = Note("No classifiers among these runs. To train and test them:", "missing", COMMAND)

    def blocks(part: Part[ClassificationResult]) -> list[Block]:
        return _papers_tables(part, runs.about_the_paper(part.record.data))

    return section_by_run(
        "classification", "Classification with generated views", runs.classifications, blocks, missing
    )


def beyond_section(runs: Runs) -> Section:
    """The rows beyond the paper's tables, one table per question."""
    missing = Note("No rows beyond the paper among these runs. To add them:", "missing", f"{COMMAND} --beyond all")
    return section_by_run("beyond", "Beyond the paper", runs.classifications, _beyond, missing)


def comparisons_section(runs: Runs) -> Section:
    """McNemar's tests of every classification."""
    missing = Note("No comparisons among these runs. To make them:", "missing", COMMAND)
    about = Text(
        "McNemar's test asks whether two classifiers of the same objects differ: it looks at the objects that only one "
        "of them has right. The p values are not corrected for their number."
    )

    def blocks(part: Part[ClassificationResult]) -> list[Block]:
        return [comparison_table(part.record)] if part.record.comparisons else []

    return section_by_run("comparisons", "Comparisons", runs.classifications, blocks, missing, about)


def confusion_section(runs: Runs) -> Section:
    """Confusion matrices on e and on ea of each classifier."""
    missing = Note("No confusion matrices among these runs. To make them:", "missing", COMMAND)
    return section_by_run("confusion", "Confusion matrices", runs.classifications, _confusion, missing)


def _claims(result: ClassificationResult, remark: str) -> Table | None:
    table, cells = claim_table(result), [single for single, _ in claims(result)]

    def quote(row: int, title: str) -> str:
        quoted = paper.CLASSIFICATION[cells[row].table].get(cells[row].classifier)
        return DASH if quoted is None else points((float(quoted["ca"]["ea"]) - float(quoted["c"]["e"])) / 100)

    return table and paper.beside(table, remark, ["paper's gain, NMR"], quote, group="")


def _weak_generator(result: ClassificationResult) -> str:
    """The warning of a weak generator, reconciled with the gains where there are some all the same; "" without one."""
    if not result.too_weak:
        return ""
    warning = result.note or "The generator is too weak for averaging over its views to help."
    if not any(averaged.accuracy.mean > single.accuracy.mean for single, averaged in claims(result)):
        return warning
    return (
        f"{warning} The gains below are no contradiction: this warning is about a classifier of many real views that "
        "has never seen a generated one, while Ωm was trained on generated views and is compared with an Ωs that has "
        "a single view of each object."
    )


def _papers_tables(part: Part[ClassificationResult], remark: str) -> list[Block]:
    result = part.record
    blocks: list[Block] = [Text(_protocol(result))]
    if result.note and not result.too_weak:  # the warning stands in the summary, beside the gains
        blocks.append(Note(result.note))
    blocks += [Note(note) for note in result.notes]
    for table, kind in TABLES.items():
        cells = table_cells(result, table)
        if not cells:
            command = COMMAND + (" --weights imagenet" if table == "finetuned" else "")
            blocks.append(Note(f"No classifiers {kind} in {part.label}. To add them:", "missing", command))
            continue
        rows = list(dict.fromkeys(map(row_key, cells)))

        def quote(row: int, test: str, table: str = table, rows: Sequence[tuple[str, str, str]] = rows) -> str:
            classifier, train, _ = rows[row]
            return paper.CLASSIFICATION[table].get(classifier, {}).get(train, {}).get(test, DASH)

        names = dict.fromkeys(cell.classifier for cell in cells)
        charts = [_chart(part.label, table, [cell for cell in cells if cell.classifier == name]) for name in names]
        blocks += [paper.beside(accuracy_table(result, table), remark, PAPER_TESTS, quote), gallery(charts)]
    return blocks


def _protocol(result: ClassificationResult) -> str:
    sizes = ", ".join(f"{name}: {count}" for name, count in result.partitions.items() if count is not None)
    facts = [f"{result.data} in {len(result.classes)} classes"]
    facts += [f"objects in the partitions {sizes}"] if sizes else []
    facts += [f"views generated with {result.solver}, {result.steps} steps"] if result.solver else []
    text = f"{'; '.join(facts)}. "
    coherence = result.coherence
    if coherence is not None and coherence.mean == coherence.mean:
        shown, error = METRICS["coherence"], coherence.standard_error
        margin = f" ± {shown.number(error)} (standard error)" if error == error else ""
        text += f"Coherence of the generated views: {shown.quantity(coherence.mean)}{margin}. "
    return text + TERMS


def _chart(label: str, table: str, cells: Sequence[AccuracyCell]) -> BarChart:
    classifier = cells[0].classifier
    groups = list(dict.fromkeys((cell.train, cell.budget) for cell in cells))
    found = {(cell.train, cell.budget, cell.test, cell.average): cell.accuracy for cell in cells}
    series = [
        _series(inference_title(test), [found.get((*group, *test)) for group in groups])
        for test in ordered_tests(cells)
    ]
    several = len({budget for _, budget in groups}) > 1
    return BarChart(
        name=slug("accuracy", label, table, classifier),
        title=f"{classifier_name(classifier)} {TABLES[table]}",
        places=[f"{train}\nequal {budget}" if several else train for train, budget in groups],
        series=series,
        labels=("trained on", ACCURACY.heading),
        digits=ACCURACY.digits,
        caption=_about_bars(series),
    )


def _beyond(part: Part[ClassificationResult]) -> list[Block]:
    blocks: list[Block] = [Text(_spread(part.record.diversity))] if part.record.diversity else []
    for name, cells in questions_of(part.record).items():
        blocks.append(question_table(part.record, name, cells))
        if chart := _question_chart(part.label, name, cells):
            blocks.append(gallery([chart]))
    return blocks


def _question_chart(label: str, name: str, cells: Sequence[AccuracyCell]) -> LineChart | None:
    question = QUESTIONS.get(name, Question(name))
    if not question.axis:
        return None
    number_of = DETAILS[question.detail]
    places = sorted({number for cell in cells if (number := number_of(cell)) is not None})
    if len(places) < 2:
        return None
    names = _lines(name, cells)
    found = {(line, number_of(cell)): cell.accuracy for line, cell in zip(names, cells, strict=True)}
    series = [_series(line, [found.get((line, place)) for place in places]) for line in dict.fromkeys(names)]
    return LineChart(
        name=slug("beyond", label, name),
        title=question.title,
        places=places,
        series=series,
        labels=(question.axis, ACCURACY.heading),
        digits=ACCURACY.digits,
        logarithmic="x" if places[-1] > 10 * places[0] > 0 else "",
        caption=_about_bars(series),
    )


def _lines(name: str, cells: Sequence[AccuracyCell]) -> list[str]:
    """Which line of a chart each cell is on."""
    several = len({cell.average for cell in cells} - {"single"}) > 1
    names = []
    for cell in cells:
        words = [classifier_name(cell.classifier), trained_on(cell)]
        # A single view is the beginning of a line over views; elsewhere it is another way to test.
        words += ["on e"] if cell.test == "e" and name != "views" else []
        words += [average_name(cell.average)] if several and cell.average != "single" else []
        names.append(", ".join(words))
    return names


def _series(label: str, accuracies: Sequence[Accuracy | None]) -> Series:
    """Accuracies in percent, with one deviation over the seeds to each side."""
    values = [None if a is None or a.mean != a.mean else ACCURACY.factor * a.mean for a in accuracies]
    ends = map(deviation, accuracies)
    return Series(label, values, [pair and (ACCURACY.factor * pair[0], ACCURACY.factor * pair[1]) for pair in ends])


def _about_bars(series: Sequence[Series]) -> str:
    return "Error bars: deviation over seeds." if any(any(line.intervals) for line in series) else ""


def _spread(diversity: Diversity) -> str:
    text = f"Of the {diversity.samples_per_view} samples of a generated view"
    if diversity.pixel_deviation is not None:
        text += f", a pixel's standard deviation is {percent(diversity.pixel_deviation)} of its range"
    shares = [
        f"{percent(share)} ({classifier_name(name)})"
        for name, share in diversity.disagreement.items()
        if share is not None
    ]
    if shares:
        text += "; so many generated views have samples that a classifier puts into different classes: "
        text += ", ".join(shares)
    return f"{text}."


def _confusion(part: Part[ClassificationResult]) -> list[Block]:
    result = part.record
    cells = [cell for cell in result.cells if cell.table in TABLES and cell.confusion]
    if cells and len(result.classes) > MOST_CLASSES:
        return [Note(f"{len(result.classes)} classes are too many to show; report.json has the counts.")]
    groups = dict.fromkeys((table, cell.classifier) for table in TABLES for cell in cells if cell.table == table)
    return [
        Matrices([
            _matrix(result, cell)
            for cell in _shown([cell for cell in cells if (cell.table, cell.classifier) == group])
        ])
        for group in groups
    ]  # fmt: skip


def _shown(cells: Sequence[AccuracyCell]) -> list[AccuracyCell]:
    """The paper's pair, or the first cell on e and on ea; report.json has all."""
    pair = claim(cells)
    if pair is not None:
        return list(pair)
    firsts = [next((cell for cell in cells if cell.test == test), None) for test in ("e", "ea")]
    return [cell for cell in firsts if cell is not None]


def _matrix(result: ClassificationResult, cell: AccuracyCell) -> Matrix:
    counts = cell.confusion or []
    names = result.classes if len(result.classes) == len(counts) else [str(number) for number in range(len(counts))]
    text = f"{cell_name(cell)}: objects by true class (rows) and predicted class (columns), summed over seeds."
    return Matrix(text, names, counts)
