"""Tables of ``dimvida bench generation``."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from dimvida.results.generation import (
    RunTimes,
    compared_table,
    memory_columns,
    memory_row,
    rate_columns,
    rate_row,
    shares_table,
)
from dimvida.results.tables import Column, TableCell

RUN = RunTimes("imagefolder", 1024, 250, 100, 300, 2.0, {"read": 0.5, "sample": 1.0, "pack": 0.25}, 99)
LOOP = RunTimes("plain loop", 64, 250, 10, 30, 2.0, {"sample": 2.0}, 99)


@pytest.mark.parametrize(
    ("columns", "row", "shown"),
    [
        (rate_columns(), rate_row(RUN), ["imagefolder", "1024", "250", "50.0", "150.0", "model"]),
        (
            memory_columns(),
            memory_row("webdataset", 10_000, [(count, 2**28 + count) for count in range(100)], 0.012),
            ["webdataset", "10000", "256", "256", "1.2 %"],
        ),
    ],
)
def test_rows_that_are_printed_as_they_come_fit(columns: list[Column], row: Sequence[TableCell], shown: list[str]):
    assert [cell.line for cell in row] == shown
    assert all(len(cell.line) <= column.width for column, cell in zip(columns, row, strict=True))
    assert all(len(column.heading) <= column.width for column in columns)


def test_shares_and_rates_beside_the_plain_loop():
    table = shares_table([RUN], LOOP)
    assert [column.title for column in table.columns] == ["format", "batch", "steps", "read", "sample", "pack", "loops"]
    assert [cell.text for cell in table.rows[0]][3:] == ["25.0", "50.0", "12.5", "10.0"]
    assert len(shares_table([RUN], None).columns) == 6


def test_samplers_beside_the_true_views():
    (row,) = compared_table({"generate": {"views": 9, "psnr": 21.456, "ssim": 0.87}}).rows
    assert [cell.text for cell in row] == ["generate", "21.46", "0.870", "9"]
