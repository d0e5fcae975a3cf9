"""Data to train on, and one training that many tests compare with."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.commands import Result
from helpers.objects import write_boxes
from helpers.runs import train

from dimvida.bench.machine import torch_threads


@pytest.fixture(scope="session")
def boxes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 objects to train on and 10 to test with."""
    root = write_boxes(tmp_path_factory.mktemp("data") / "boxes", 40)
    return write_boxes(root, 10, "test", first=40)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, boxes: Path) -> tuple[Path, Result]:
    """A whole training and what it printed; nobody may change its folder."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    with torch_threads(1):  # as in every test of this folder, which compare with this run bit for bit
        return out, train(boxes, out)


@pytest.fixture(autouse=True)
def in_little_time(light_trainings: None) -> None:
    """For every test of this folder."""
