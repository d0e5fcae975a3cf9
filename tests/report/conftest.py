"""Reports of results that no command had to make."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import pytest
from helpers.results import Report, write_classification, write_evaluation, write_solvers, write_training

from dimvida.cli.app import run


def make_report(out: Path, *folders: Path, options: Sequence[str] = ()) -> Report:
    """The report of some folders, through the command."""
    assert run(["report", *map(str, folders), "--out", str(out), *options]) == 0
    return Report(out)


@pytest.fixture
def report(tmp_path: Path) -> Callable[..., Report]:
    """Makes the report of some folders."""
    return partial(make_report, tmp_path / "report")


@pytest.fixture(scope="module")
def full_report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """A report of everything; only to be read."""
    root = tmp_path_factory.mktemp("full")
    folders = (
        write_training(root / "model"),
        write_evaluation(root / "evaluation"),
        write_classification(root / "classification"),
        write_solvers(root / "solvers"),
    )
    return make_report(root / "report", *folders)
