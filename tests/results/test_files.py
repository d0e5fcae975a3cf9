"""Result files there and back."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from helpers.results import classification, evaluation, solvers

from dimvida.errors import InputError
from dimvida.records import to_json
from dimvida.results.files import parse_result, read_content, write_result
from dimvida.results.schema import ClassificationResult, EvaluationResult
from dimvida.results.solvers import SolversResult

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def kept(before: object, after: object) -> bool:
    """Whether everything that was in a JSON value is in another."""
    if isinstance(before, dict):
        return isinstance(after, dict) and all(name in after and kept(before[name], after[name]) for name in before)
    if isinstance(before, list):
        return isinstance(after, list) and len(before) == len(after) and all(map(kept, before, after))
    return before == after


@pytest.mark.parametrize(
    ("kind", "content"),
    [(EvaluationResult, evaluation()), (ClassificationResult, classification()), (SolversResult, solvers())],
    ids=["evaluation", "classification", "solvers"],
)
def test_what_is_read_is_what_was_written(tmp_path: Path, kind: type, content: dict):
    result = parse_result(kind, content, tmp_path)
    write_result(tmp_path / "result.json", result)
    written = read_content(tmp_path / "result.json")
    assert kept(content, written)
    assert to_json(parse_result(kind, written, tmp_path)) == written


@pytest.mark.skipif(not BENCHMARKS.exists(), reason="not in a checkout")
def test_a_file_of_an_earlier_version_stays_readable():
    path = BENCHMARKS / "solvers.json"
    result = parse_result(SolversResult, read_content(path), path)
    assert result.complete and len(result.known) == 3
    assert all(entry.points and entry.another_draw.psnr_true.is_measured for entry in result.known)


def test_another_schema_is_one_line(tmp_path: Path):
    with pytest.raises(InputError, match=r"schema 2, but this version reads 1; report it with the version that made"):
        parse_result(EvaluationResult, evaluation(schema=2), tmp_path / "evaluation.json")


def test_a_file_that_says_the_same_already_is_left_alone(tmp_path: Path):
    path = tmp_path / "result.json"
    write_result(path, parse_result(SolversResult, solvers(), path))
    os.utime(path, (1, 1))
    write_result(path, parse_result(SolversResult, solvers(), path))
    assert path.stat().st_mtime == 1
    write_result(path, parse_result(SolversResult, solvers() | {"complete": False}, path))
    assert path.stat().st_mtime > 1 and not json.loads(path.read_text())["complete"]
