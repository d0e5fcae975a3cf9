"""A data set that trains in seconds, and a run on it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from helpers.objects import VIEWS, coloured_boxes
from helpers.runs import FAST, run

from dimvida.bench.machine import torch_threads
from dimvida.data.batch import MultiViewBatch
from dimvida.training.config import TrainConfig, load_preset
from dimvida.training.data import TrainingData, prepare_data


@pytest.fixture(scope="session")
def fast_config() -> TrainConfig:
    return load_preset("tiny", FAST)


@pytest.fixture(scope="session")
def data(fast_config: TrainConfig) -> TrainingData:
    images = torch.from_numpy(coloured_boxes(40)).permute(0, 1, 4, 2, 3).contiguous()
    batch = MultiViewBatch(
        images=images,
        known=torch.ones(40, 4, dtype=torch.bool),
        labels=torch.zeros(40, dtype=torch.int64),
        ids=tuple(f"box/{number}" for number in range(40)),
        view_names=VIEWS,
    )
    return prepare_data(batch, ("box",), fast_config, {"name": "boxes"})


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
