"""Trains on boxes, by ``dimvida train`` or without the command line, and reads what a training leaves behind."""

from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path

import torch
import torch._dynamo
from helpers.commands import Result, command
from helpers.objects import SIZE, VIEWS, coloured_boxes

from dimvida.data.batch import MultiViewBatch
from dimvida.models.checkpoint import WEIGHT_FILES
from dimvida.training.config import TrainConfig
from dimvida.training.control import ShowProgress
from dimvida.training.data import TrainingData, prepare_data
from dimvida.training.run import Run

# The paper's networks at a size at which a whole training of the lengths of the preset "tiny" takes a few seconds.
FAST = (
    "autoencoder.kind=pooling",
    f"autoencoder.image_size={SIZE}",
    "autoencoder.latent_dim=8",
    "autoencoder.base=8",
    "score.kind=mlp",
    "score.prediction=velocity",
    "score.width=32",
    "score.time_dim=16",
    "score.groups=4",
    "autoencoder_stage.steps=60",
    "autoencoder_stage.batch=16",
    "autoencoder_stage.log_every=10",
    "autoencoder_stage.save_every=25",
    "autoencoder_stage.sheet_every=0",
    "diffusion_stage.steps=120",
    "diffusion_stage.batch=16",
    "diffusion_stage.log_every=10",
    "diffusion_stage.save_every=50",
    "diffusion_stage.sheet_every=0",
)
SHORT = (*FAST, "autoencoder_stage.steps=30", "diffusion_stage.steps=60", "diffusion_stage.save_every=1000")

# The same lengths for a grid autoencoder and a view transformer of four tokens a view.
TRANSFORMER = (
    *(setting for setting in SHORT if "_stage." in setting),
    "autoencoder.kind=grid",
    f"autoencoder.image_size={SIZE}",
    "autoencoder.latent_channels=2",
    "autoencoder.base=8",
    "score.kind=transformer",
    "score.width=16",
    "score.depth=2",
    "score.heads=2",
    "score.patch=1",
    "score.time_dim=8",
    "autoencoder_stage.latent_noise=0.1",
)


def options(settings: tuple[str, ...] | list[str]) -> list[str]:
    """Settings as command line options."""
    return [part for setting in settings for part in ("--set", setting)]


def train(data: Path, out: Path, *arguments: str | Path) -> Result:
    """Train in about a second, in this process; arguments replace the usual settings."""
    return command("train", "--data", data, "--out", out, "--preset", "tiny", *options(SHORT), *arguments)


def weights(out: Path) -> list[bytes]:
    """The bytes of a run's weights."""
    return [(out / "checkpoint" / name).read_bytes() for name in WEIGHT_FILES]


def curve(path: Path) -> list[dict[str, str]]:
    """A learning curve without its times."""
    with open(path) as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        del row["seconds"]
    return rows


def has_reached(out: Path, stage: str, step: int) -> bool:
    """Whether the learning curve of a stage, which may not be there yet, has come to a step."""
    path = out / f"{stage}.csv"
    return path.exists() and int(curve(path)[-1]["step"]) >= step


def description(out: Path) -> dict:
    """A run's description of itself."""
    return json.loads((out / "run.json").read_text())


class StopAfter:
    """Asks the loop to stop once it has been asked that many times whether to."""

    def __init__(self, questions: int) -> None:
        self.left = questions

    @property
    def requested(self) -> bool:
        self.left -= 1
        return self.left < 0


def no_progress(work: str, total: int, unit: str, done: int, later: float = 0.0) -> ShowProgress:
    """Shows nothing of a training."""
    return lambda done, note="": None


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
