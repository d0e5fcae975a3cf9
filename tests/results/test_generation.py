"""Tables of ``dimvida bench generation``."""

from __future__ import annotations

import pytest

from dimvida.results.generation import (
    RunTimes,
    compared_table,
    rate_columns,
    rate_row,
    shares_table,
)

STAGES = {"read": 0.5, "sample": 1.0, "pack": 0.25}
RUN = RunTimes("imagefolder", 1024, 250, 100, 300, 2.0, STAGES, 99, 4, 2**28, 0.012)
LOOP = RunTimes("plain loop", 64, 250, 10, 30, 2.0, {"sample": 2.0}, 99)


@pytest.mark.parametrize(
    ("run", "shown"),
    [
        (RUN, ["imagefolder", "1024", "250", "50.0", "150.0", "256", "1.2 %", "model"]),
        (LOOP, ["plain loop", "64", "250", "5.0", "15.0", "", "", "model"]),
    ],
)
def test_rows_that_are_printed_as_they_come_fit(run: RunTimes, shown: list[str]):
    columns, row = rate_columns(), rate_row(run)
    assert [cell.line for cell in row] == shown
    assert all(len(cell.line) <= column.width for column, cell in zip(columns, row, strict=True))
    assert all(len(column.heading) <= column.width for column in columns)
    assert sum(column.width + 2 for column in columns) <= 80


def test_shares_and_rates_beside_the_plain_loop():
    table = shares_table([RUN], LOOP)
    assert [column.title for column in table.columns] == ["format", "batch", "steps", "read", "sample", "pack", "loops"]
    assert [cell.text for cell in table.rows[0]][3:] == ["25.0", "50.0", "12.5", "10.0"]
    assert len(shares_table([RUN], None).columns) == 6


def test_samplers_beside_the_true_views():
    (row,) = compared_table({"generate": {"views": 9, "psnr": 21.456, "ssim": 0.87}}).rows
    assert [cell.text for cell in row] == ["generate", "21.46", "0.870", "9"]
