"""Trains runs in this process, without the command line."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch
import torch._dynamo
from helpers.trainings import StopAfter

from dimvida.training.config import TrainConfig
from dimvida.training.control import no_progress
from dimvida.training.data import TrainingData
from dimvida.training.run import Run


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
