"""Trains runs in this process, without the command line, on objects that may lack views."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch
import torch._dynamo
from helpers.objects import VIEWS, coloured_boxes
from helpers.trainings import StopAfter, no_progress

from dimvida.data.batch import MultiViewBatch
from dimvida.training.config import TrainConfig
from dimvida.training.data import TrainingData, prepare_data
from dimvida.training.run import Run

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
