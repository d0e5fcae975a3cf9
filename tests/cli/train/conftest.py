"""Data to train on, trainings of a second, and one that many tests compare with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers.commands import Forked, Result, command, free_port
from helpers.networks import SHORT, curve, options, weights
from helpers.objects import write_boxes

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


def train(data: Path, out: Path, *arguments: str | Path) -> Result:
    """Train in about a second, in this process; arguments replace the usual settings."""
    return command("train", "--data", data, "--out", out, "--preset", "tiny", *options(SHORT), *arguments)


def assert_equal_runs(out: Path, other: Path) -> None:
    """The same curves, and the same bytes of weights in every checkpoint that is kept."""
    for stage in ("autoencoder", "diffusion"):
        assert curve(out / f"{stage}.csv") == curve(other / f"{stage}.csv")
    for folder in ("checkpoint", "best", *(f"steps/{path.name}" for path in (other / "steps").iterdir())):
        assert weights(out, folder) == weights(other, folder), folder


def description(out: Path) -> dict:
    """A run's description of itself."""
    return json.loads((out / "run.json").read_text())


def forked_ranks(count: int, arguments: list[str], logs: Path) -> list[Forked]:
    """Processes that work together, without an agent that ends all when one dies."""
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": str(count)}
    logs.mkdir(parents=True, exist_ok=True)
    return [Forked(arguments, logs / f"rank{rank}", RANK=str(rank), **place) for rank in range(count)]
