"""Tables of an evaluation: what a terminal and a page show of the same numbers."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from helpers.objects import VIEWS
from helpers.results import REASON, evaluation, score

from dimvida.cli.terminal import print_table
from dimvida.results.evaluation import (
    breakdown_table,
    breakdown_tables,
    metric_column,
    notes,
    score_cell,
    score_table_by_metric,
    score_tables,
    unavailable,
)
from dimvida.results.files import parse_result
from dimvida.results.metrics import DASH
from dimvida.results.schema import Estimate, EvaluationResult
from dimvida.results.tables import TableCell

METRICS = ("psnr", "ssim", "lpips", "colour", "fid", "coherence", "feature_frechet")


def result_of(**changes: Any) -> EvaluationResult:
    return parse_result(EvaluationResult, evaluation(**changes), Path("evaluation.json"))


def printed(capsys: pytest.CaptureFixture[str], tables: list) -> list[str]:
    for table in tables:
        print_table(table)
    return capsys.readouterr().out.splitlines()


def test_scores_fit_a_terminal(capsys):
    lines = printed(capsys, score_tables(result_of()))
    assert max(map(len, lines)) <= 80 and "…" not in "".join(lines)
    text = "\n".join(lines)
    assert "mean over views ± half of the 95 % interval" in text
    assert "20.12 ± 0.59" in text and "67.0 ± 3.9" in text and "15.000 ± 1.960" in text
    assert [line.split()[0] for line in lines if line.strip().startswith("ceiling")] == ["ceiling"]
    assert [row[1].text for row in score_tables(result_of())[0].rows] == ["4", "4 of 6", "4", ""]
    (true,) = (line for line in lines if "true views" in line)
    assert true.split() == ["true", "views", "-", "91.0", "±", "2.0", "-"]


def test_the_page_has_the_same_cells_by_metric():
    result = result_of()
    table = score_table_by_metric(result, METRICS)
    assert [column.title for column in table.columns] == ["metric", "1", "2", "3", "reconstruction", "true views"]
    assert [column.group for column in table.columns[1:]] == ["this run, known views"] * 3 + ["ceilings"] * 2
    psnr = table.rows[0]
    assert (psnr[0].text, psnr[1].text, psnr[1].detail, psnr[1].line) == (
        "PSNR, dB ↑", "20.12", "19.54 – 20.71", "20.12 ± 0.59",
    )  # fmt: skip
    by_known = {cell for narrow in score_tables(result) for row in narrow.rows for cell in row}
    assert {cell for row in table.rows for cell in row[1:]} <= by_known
    assert [cell.text for cell in table.rows[-1]] == ["views scored", "312", "312", "312", "", ""]


@pytest.mark.parametrize("by", ["view", "class"])
def test_breakdowns(capsys, by: str):
    result = result_of()
    parts = VIEWS if by == "view" else ("chair", "table", "lamp")
    narrow = breakdown_tables(result, by)
    assert [[row[1].text for row in table.rows[: len(parts)]] for table in narrow] == [list(parts)] * 2
    assert max(map(len, printed(capsys, narrow))) <= 80
    wide = breakdown_table(result, by, METRICS)
    assert [row[0].text for row in wide.rows] == list(parts)
    assert "FID ↓" not in {column.group for column in wide.columns}  # it was not measured
    assert wide.rows[0][-1].text == "15.000" and (by == "view" or wide.rows[0][1].text == "9")


def test_a_metric_that_is_not_in_the_registry_has_no_direction():
    known = [{"known": 1, "subsets": 4, "subsets_total": 4, "objects": 26, "scores": {"vmaf": score(81.5, 0.5)}}]
    result = result_of(known=known, metrics={"vmaf": {"available": True}}, reconstruction=None, reference=None)
    (table,) = score_tables(result)
    assert table.columns[-1].title == "vmaf" and table.rows[0][-1].line == "81.500 ± 0.980"


def test_many_metrics_are_several_tables():
    names = [f"metric{number}" for number in range(6)]
    scores = {name: score(0.5, 0.1) for name in names}
    known = [{"known": 1, "subsets": 4, "subsets_total": 4, "objects": 26, "scores": scores}]
    tables = score_tables(result_of(known=known, reconstruction=None, reference=None))
    assert [[column.title for column in table.columns[3:]] for table in tables] == [names[:4], names[4:]]


def test_a_class_with_the_name_of_markup_is_shown_as_it_is(capsys):
    lines = printed(capsys, breakdown_tables(result_of(classes=("[red]", "b", "c")), "class"))
    assert any("[red]" in line for line in lines)


def test_what_a_reader_has_to_know():
    result = result_of()
    assert any("2 known: 4 of 6 sets, drawn at random" in line for line in notes(result))
    known = [
        {"known": 3, "subsets": 4, "subsets_total": 4, "scores": {
            "fid": score(9.0), "psnr": score(30.0) | {"equal": 2},
        }},
    ]  # fmt: skip
    few, equal = notes(result_of(known=known))
    assert few.startswith("3 known: FID of 312 pictures; with fewer than 2048")
    assert equal == "2 views equal the true ones exactly; PSNR is infinite there and leaves them out"
    assert unavailable(result) == {"FID": REASON}


@pytest.mark.parametrize(
    ("score", "cell"),
    [
        (None, TableCell(DASH)),
        (Estimate(math.nan), TableCell(DASH)),
        (Estimate(20.0), TableCell("20.00")),
        (Estimate(20.0, 0.5), TableCell("20.00", "19.02 – 20.98", "± 0.98")),
        (Estimate(20.0, 0.5, 18.0, 21.0), TableCell("20.00", "18.00 – 21.00", "± 2.00")),
        (Estimate(-1.0, 0.0), TableCell("−1.00", "−1.00 – −1.00", "± 0.00")),
    ],
)
def test_scores(score: Estimate | None, cell: TableCell):
    assert score_cell("psnr", score) == cell


def test_intervals_are_those_given_or_of_the_standard_error():
    assert Estimate(5.0).interval() is None and Estimate(math.nan, 1.0).interval() is None
    assert Estimate(5.0, 1.0).interval() == pytest.approx((3.04, 6.96))
    assert Estimate(5.0, 1.0, 2.5, 7.5).interval() == (2.5, 7.5)


def test_a_metrics_column_says_less_on_a_terminal():
    column = metric_column("feature_frechet")
    assert (column.title, column.narrow) == (
        "Fréchet distance of the classifier's features (not FID) ↓", "feature_frechet",
    )  # fmt: skip
