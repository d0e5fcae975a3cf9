"""The table model and its cells."""

from __future__ import annotations

import math

import pytest

from dimvida.results.metrics import DASH
from dimvida.results.schema import Accuracy, Estimate
from dimvida.results.tables import Column, Table, TableCell, accuracy_cell, interval, metric_column, score_cell


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
    assert interval(Estimate(5.0)) is None and interval(Estimate(math.nan, 1.0)) is None
    assert interval(Estimate(5.0, 1.0)) == pytest.approx((3.04, 6.96))


def test_accuracies():
    assert accuracy_cell(None) == accuracy_cell(Accuracy()) == TableCell(DASH)
    assert accuracy_cell(Accuracy([0.5], 0.5)).line == "50.0"
    assert accuracy_cell(Accuracy([0.5, 0.7], 0.6, 0.1414)).line == "60.0 ± 14.1"


def test_headings_over_columns():
    columns = [Column("a"), Column("1", "b"), Column("2", "b"), Column("3", "c", quoted=True)]
    assert Table("", columns, []).groups() == [("", 1, False), ("b", 2, False), ("c", 1, True)]
    assert Table("", columns[:1], []).groups() == []
    assert [column.heading for column in columns] == ["a", "b: 1", "b: 2", "c: 3"]


def test_a_metrics_column_says_less_on_a_terminal():
    column = metric_column("feature_frechet")
    assert (column.title, column.narrow) == (
        "Fréchet distance of the classifier's features (not FID) ↓", "feature_frechet",
    )  # fmt: skip
