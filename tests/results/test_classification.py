"""Tables of a classification."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from helpers.results import cell, classification

from dimvida.cli.terminal import print_table
from dimvida.models.classifiers import CLASSIFIERS
from dimvida.results.classification import (
    AVERAGE_NAMES,
    CLASSIFIER_NAMES,
    accuracy_cell,
    accuracy_table,
    claim_table,
    claims,
    comparison_table,
    printed_tables,
    question_table,
    questions_of,
)
from dimvida.results.files import parse_result
from dimvida.results.metrics import DASH
from dimvida.results.schema import Accuracy, ClassificationResult
from dimvida.results.tables import TableCell
from dimvida.sampling.classifier import AVERAGES


def result_of(**changes: Any) -> ClassificationResult:
    return parse_result(ClassificationResult, classification(**changes), Path("classification.json"))


def texts(table) -> list[list[str]]:
    return [[one.line for one in row] for row in table.rows]


def test_what_can_be_chosen_has_a_name_in_tables():
    assert list(CLASSIFIER_NAMES) == list(CLASSIFIERS)
    assert list(AVERAGE_NAMES) == ["single", *AVERAGES]


def test_all_tables_fit_a_terminal(capsys):
    for table in printed_tables(result_of()):
        print_table(table)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80 and "…" not in "".join(lines)
    said = " ".join(" ".join(lines).split())
    for title in ("Table II: ", "Table III: ", "Ways to average", "Network evaluations", "McNemar's test: objects"):
        assert title in said
    assert re.search(r"^ MobileNetV3-Large +ca \(Ωm\)", "\n".join(lines), re.MULTILINE)


def test_the_papers_table():
    rows = texts(accuracy_table(result_of(), "scratch"))
    assert rows[0] == ["ResNet18", "c (Ωs) 1,200 steps", "81.0 ± 1.0", "83.0 ± 1.0", "83.5 ± 1.0"]
    assert rows[2][1:] == ["ca (Ωm) equal epochs, 4,800 steps", "–", "85.5 ± 1.0", "–"]


def test_how_ea_is_tested_has_a_column_only_where_it_differs():
    result = result_of()
    groups = questions_of(result)
    views = question_table(result, "views", groups["views"])
    assert [column.title for column in views.columns][3:] == ["views", "accuracy, %"]
    assert views.caption.endswith("; ea: average mean of probabilities, samples 1, sampler steps 10.")
    cells = [cell("beyond", "resnet18", "ca", "ea", 0.8, group="own", views=k, average=a)
             for k, a in ((2, "logits"), (4, "confidence"))]  # fmt: skip
    result = result_of(
        cells=cells, comparisons=[{"a": cells[0]["id"], "b": cells[1]["id"], "only_a": 1, "only_b": 9, "p": 0.02}]
    )
    own = question_table(result, "own", result.cells)
    assert [column.title for column in own.columns][3:] == ["average", "views", "accuracy, %", "p"]
    assert texts(own)[1][3:] == ["weighted by confidence", "4", "80.0 ± 1.0", "0.020"]


def test_the_claim_compares_as_many_optimiser_steps():
    result = result_of()
    assert next((a.classifier, a.test, b.test, b.average, b.budget) for a, b in claims(result)) == (
        "resnet18", "e", "ea", "probabilities", "steps",
    )  # fmt: skip
    assert texts(claim_table(result))[0] == ["ResNet18 from scratch", "81.0 ± 1.0", "84.8 ± 1.0", "+3.7", "0.003"]
    assert claim_table(result_of(cells=[cell("scratch", "resnet18", "c", "e", 0.8)])) is None


def test_comparisons_name_their_cells():
    (first, second) = texts(comparison_table(result_of()))
    assert first[:2] == ["ResNet18 from scratch, c on e", "ResNet18 from scratch, ca on ea (mean of probabilities)"]
    assert second[2:] == ["1", "40", "< 0.001"]


def test_accuracies():
    assert accuracy_cell(None) == accuracy_cell(Accuracy()) == TableCell(DASH)
    assert accuracy_cell(Accuracy([0.5], 0.5)).line == "50.0"
    assert accuracy_cell(Accuracy([0.5, 0.7], 0.6, 0.1414)).line == "60.0 ± 14.1"
