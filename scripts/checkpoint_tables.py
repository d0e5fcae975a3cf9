"""Print the tables of docs/checkpoint.md, in Markdown, from what was measured of a checkpoint.

    python scripts/checkpoint_tables.py evaluation.json [benchmarks/solvers.json]

The first is of ``dimvida evaluate``, the second of ``dimvida bench solvers``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from dimvida.errors import InputError
from dimvida.results.files import Result, parse_result, read_content
from dimvida.results.metrics import METRICS, Metric
from dimvida.results.schema import Estimate, EvaluationResult
from dimvida.results.solvers import SolverQuality, SolversResult

MEASURED = ("psnr", "ssim", "colour")
"""Metrics of the table of quality."""
SHOWN = (5, 10, 20, 50)
"""Evaluations of the table of solvers."""


def quality(result: EvaluationResult) -> Iterator[str]:
    """Quality by the number of known views, with the standard error over objects, and of reconstructions."""
    names = [name for name in MEASURED if name in result.known[0].scores]
    yield "| known views | views scored | " + " | ".join(METRICS[name].short_heading for name in names) + " |"
    yield "|---" * (2 + len(names)) + "|"
    rows = [(str(known.known), known.scores) for known in result.known]
    if result.reconstruction is not None:
        rows.append(("reconstruction", result.reconstruction.scores))
    for title, scores in rows:
        cells = [_written(METRICS[name], scores[name]) if name in scores else "" for name in names]
        yield f"| {title} | {scores['psnr'].count:,} | " + " | ".join(cells) + " |"


def _written(metric: Metric, score: Estimate) -> str:
    return f"{metric.number(score.mean)} ± {metric.number(score.standard_error)}"


def solvers(result: SolversResult) -> Iterator[str]:
    """PSNR in dB of each solver with a few numbers of evaluations, by the number of known views."""
    points: dict[tuple[str, int], dict[int, SolverQuality]] = {}
    for known in result.known:
        for point in known.points:
            points.setdefault((point.solver, point.steps), {})[known.known] = point
    counts = [known.known for known in result.known]
    yield "| solver, evaluations | " + " | ".join(f"{count} known" for count in counts) + " |"
    yield "|---" * (1 + len(counts)) + "|"
    for (solver, steps), by_known in points.items():
        if steps in SHOWN:
            yield f"| `{solver}`, {steps} | " + " | ".join(_decibels(by_known.get(count)) for count in counts) + " |"


def _decibels(point: SolverQuality | None) -> str:
    return "" if point is None else f"{point.psnr_true.mean:.1f}"


def _read(path: Path, kind: type[Result]) -> Result:
    return parse_result(kind, read_content(path), path)


def main(arguments: list[str]) -> int:
    """The script; its exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("evaluation", type=Path)
    parser.add_argument("solvers", type=Path, nargs="?")
    asked = parser.parse_args(arguments)
    print(*quality(_read(asked.evaluation, EvaluationResult)), sep="\n")
    if asked.solvers is not None:
        print("", *solvers(_read(asked.solvers, SolversResult)), sep="\n")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except InputError as error:
        sys.exit(f"error: {error}")
