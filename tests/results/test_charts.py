"""Charts: what is drawn and how it is told in words."""

from __future__ import annotations

import re
from pathlib import Path

from helpers.results import solvers

from dimvida.results.charts import BarChart, LineChart, Series, render_svg, save_panels
from dimvida.results.files import parse_result
from dimvida.results.solvers import SolversResult, quality_charts, quality_columns, quality_row

BARS = BarChart(
    name="bars",
    title="PSNR",
    places=["1", "2"],
    series=[Series("a", [1.0, 2.5], [(0.5, 1.5), None]), Series("b", [None, 3.0])],
    labels=("known views", "PSNR, dB"),
    digits=1,
)


def test_a_gap_is_neither_drawn_nor_told():
    assert BARS.described() == "PSNR. a: 1: 1.0, 2: 2.5; b: 2: 3.0"
    svg = render_svg(BARS).decode()
    assert svg == render_svg(BARS).decode() and "prefers-color-scheme: dark" in svg
    assert set(re.findall(r"<!-- (\d\.\d) -->", svg)) >= {"1.0", "2.5", "3.0"}


def test_lines_of_steps_are_told_by_their_names():
    chart = LineChart(name="l", title="loss", places=[10, 20], series=[Series("a", [0.5, None])], labels=("x", "y"))
    assert chart.described() == "loss. a: 10: 0.50"
    assert LineChart(**{**_fields(chart), "marked": False}).described() == "loss. a"
    assert render_svg(chart).startswith(b"<?xml")


def _fields(chart: LineChart) -> dict:
    return {name: getattr(chart, name) for name in ("name", "title", "places", "series", "labels")}


def test_a_picture_of_the_solvers_curves(tmp_path: Path):
    result = parse_result(SolversResult, solvers(), tmp_path)
    columns = [quality_charts(entry, "solvers") for entry in result.known]
    assert [[chart.name for chart in charts] for charts in columns] == [
        ["solvers-1-psnr", "solvers-1-distance"],
        ["solvers-2-psnr", "solvers-2-distance"],
    ]
    psnr, distance = columns[0]
    assert psnr.title == "PSNR, 1 known (higher is better)" and psnr.level[0] == "euler-maruyama, 250 steps"
    assert distance.title == "Latent Fréchet distance, 1 known (lower is better)"
    assert psnr.series[0].values == [15.0, 18.0, 20.4] and psnr.series[0].intervals[0] is not None
    save_panels(tmp_path / "curves.png", columns)
    assert (tmp_path / "curves.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_rows_of_solvers_fit_their_columns():
    result = parse_result(SolversResult, solvers(), Path())
    columns, known = quality_columns(), result.known[0]
    rows = [quality_row(known.reference, "reference"), *map(quality_row, known.points)]
    assert [cell.line for cell in rows[1]][:3] == ["ddim", "5", "15.00 ± 0.30"]
    assert rows[0][0].line == "reference"
    for row in rows:
        assert all(len(cell.line) <= column.width for column, cell in zip(columns, row, strict=True))
    assert sum(column.width for column in columns) + len(columns) == 79
