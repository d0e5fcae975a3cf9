"""Data sets that train in seconds, of complete and of partial objects, and runs on them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from helpers.networks import FAST, StopAfter, no_progress, weights
from helpers.objects import VIEWS, coloured_boxes

from dimvida.bench.machine import torch_threads
from dimvida.data.batch import MultiViewBatch
from dimvida.training.config import TrainConfig, load_preset
from dimvida.training.data import TrainingData, prepare_data
from dimvida.training.run import Run


@pytest.fixture(scope="session")
def fast_config() -> TrainConfig:
    return load_preset("tiny", FAST)


@pytest.fixture(scope="session")
def data(fast_config: TrainConfig) -> TrainingData:
    return prepare_data(batch_of(complete()), ("box",), fast_config, {"name": "boxes"})


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, fast_config: TrainConfig, data: TrainingData) -> Path:
    """A whole run; nobody may change its folder."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    with torch_threads(1):  # as in every test of this folder, which compare with this run bit for bit
        assert run(out, fast_config, data)
    return out


@pytest.fixture(scope="module", autouse=True)
def in_one_thread(one_thread: None) -> None:
    """For every test of this folder."""


@pytest.fixture(autouse=True)
def in_little_time(light_trainings: None) -> None:
    """For every test of this folder."""


OBJECTS = 40


def run(
    out: Path,
    config: TrainConfig,
    data: TrainingData,
    *,
    stop=10**9,
    stage="all",
    resume=False,
    init=None,
    watch=no_progress,
) -> bool:
    return Run(out, config, data, torch.device("cpu"), watch, StopAfter(stop), init).train(stage, resume)


def with_stage(config: TrainConfig, name: str, **values: object) -> TrainConfig:
    stage = dataclasses.replace(getattr(config, f"{name}_stage"), **values)
    return dataclasses.replace(config, **{f"{name}_stage": stage})


def batch_of(known: torch.Tensor) -> MultiViewBatch:
    objects, views = known.shape
    images = torch.from_numpy(coloured_boxes(objects)).permute(0, 1, 4, 2, 3)[:, :views].contiguous()
    images[~known] = 0
    ids = tuple(f"box/{number}" for number in range(objects))
    return MultiViewBatch(images, known, torch.zeros(objects, dtype=torch.int64), ids, VIEWS[:views])


def prepared(known: torch.Tensor, config: TrainConfig) -> TrainingData:
    return prepare_data(batch_of(known), ("box",), config, {})


def complete(objects: int = OBJECTS) -> torch.Tensor:
    return torch.ones(objects, 4, dtype=torch.bool)


def partly(objects: int = OBJECTS) -> torch.Tensor:
    """The first ten objects are complete; of the others each lacks a view or two, and the last has only one."""
    known = complete(objects)
    for number in range(10, objects):
        known[number, number % 4] = False
        known[number, (number // 4) % 4] = False
    known[-1] = torch.tensor([False, True, False, False])
    return known


def absent_views_leave_no_trace(folder: Path, config: TrainConfig, make: Callable[[], TrainingData]) -> bool:
    """Whether data whose absent views are black, and then gray, train the same weights."""
    for name, level in (("black", 0), ("gray", 77)):
        data = make()
        data.images[~data.present] = level
        assert run(folder / name, config, data)
    return weights(folder / "black") == weights(folder / "gray")
