"""Print the tables of docs/checkpoint.md, in Markdown, from what was measured of a checkpoint.

    python scripts/checkpoint_tables.py evaluation.json [benchmarks/solvers.json]

The first is of ``dimvida evaluate``, the second of ``dimvida bench solvers``.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

from dimvida.errors import InputError
from dimvida.report.writing import render_table
from dimvida.results.files import Result, parse_result, read_content
from dimvida.results.metrics import METRICS
from dimvida.results.schema import EvaluationResult, Scores
from dimvida.results.solvers import SolversResult
from dimvida.results.tables import Table, TableCell, text_column

MEASURED = ("psnr", "ssim", "colour")
"""Metrics of the table of quality."""
SHOWN = (5, 10, 20, 50)
"""Evaluations of the table of solvers."""


TENTHS = dataclasses.replace(METRICS["psnr"], digits=1)
"""PSNR as the table of solvers has it: they differ by more than it leaves out."""


def quality(result: EvaluationResult) -> Table:
    """Quality by the number of known views, with the standard error over objects, and of reconstructions."""
    names = [name for name in MEASURED if name in result.known[0].scores]
    titles = ["known views", "views scored", *(METRICS[name].short_heading for name in names)]
    rows = [(str(known.known), known.scores) for known in result.known]
    if result.reconstruction is not None:
        rows.append(("reconstruction", result.reconstruction.scores))
    return _table(
        "Quality",
        titles,
        [[title, f"{scores['psnr'].count:,}", *(_written(name, scores) for name in names)] for title, scores in rows],
    )


def _written(name: str, scores: Scores) -> str:
    if name not in scores:
        return ""
    metric, score = METRICS[name], scores[name]
    return f"{metric.number(score.mean)} ± {metric.number(score.standard_error)}"


def solvers(result: SolversResult) -> Table:
    """PSNR in dB of each solver with a few numbers of evaluations, by the number of known views."""
    found: dict[tuple[str, int], dict[int, str]] = {}
    for known in result.known:
        for point in known.points:
            number = TENTHS.number(point.psnr_true.mean)
            found.setdefault((point.solver, point.steps), {})[known.known] = number
    counts = [known.known for known in result.known]
    return _table(
        "Solvers",
        ["solver, evaluations", *(f"{count} known" for count in counts)],
        [
            [f"{solver}, {steps}", *(numbers.get(count, "") for count in counts)]
            for (solver, steps), numbers in found.items()
            if steps in SHOWN
        ],
    )


def _table(caption: str, titles: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    return Table(caption, [text_column(title) for title in titles], [[TableCell(cell) for cell in row] for row in rows])


def _read(path: Path, kind: type[Result]) -> Result:
    return parse_result(kind, read_content(path), path)


def main(arguments: list[str]) -> int:
    """The script; its exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("evaluation", type=Path)
    parser.add_argument("solvers", type=Path, nargs="?")
    asked = parser.parse_args(arguments)
    print(render_table(quality(_read(asked.evaluation, EvaluationResult))))
    if asked.solvers is not None:
        print(f"\n{render_table(solvers(_read(asked.solvers, SolversResult)))}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except InputError as error:
        sys.exit(f"error: {error}")
