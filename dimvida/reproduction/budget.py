"""Lengths of the stages that fit a budget of time.

A budget is divided by fixed shares. What a step costs is measured in a short trial on a few objects of the data; a
stage then gets as many steps as fit its share, at most the preset's.
"""

from __future__ import annotations

import csv
import dataclasses
import math
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from dimvida.data.partitions import Partitions, save_partitions
from dimvida.data.source import spread
from dimvida.errors import DimvidaError, InputError
from dimvida.reproduction.stages import MODEL, PARTITION, ChainOptions, StageMaker
from dimvida.results.files import CLASSIFIER
from dimvida.results.schema import JUDGE
from dimvida.training.config import TrainConfig, load_preset
from dimvida.training.latents import training_variants
from dimvida.training.stage_config import StageConfig

# Of the budget less the trial; the rest is for reading, encoding, generating, the report, and what goes wrong.
SHARES = {"autoencoder": 0.35, "diffusion": 0.2, "judge": 0.06, "evaluation": 0.06, "study": 0.22}

LEAST_STEPS = 20
ENCODING = 1 / 4  # of a picture's share in a training step: the encoder forwards only, of two networks both ways


@dataclass(frozen=True, slots=True)
class Speeds:
    """What the trial measured.

    Attributes:
        autoencoder, diffusion: Seconds per optimiser step.
        classifiers: Seconds per optimiser step by name; the first is the judge's.
        evaluation: Seconds per evaluated object.
        trial: Seconds that the measurement took.
    """

    autoencoder: float
    diffusion: float
    classifiers: dict[str, float]
    evaluation: float
    trial: float


@dataclass(frozen=True, slots=True)
class StageLengths:
    """How long every stage is, in a budget of time.

    Attributes:
        autoencoder, diffusion, judge: Optimiser steps of each of the stages by these names.
        study: Optimiser steps of each classifier of the tables.
        evaluated: Objects that generated views are scored on.
        warmup: Most steps of warm-up by the stage's name, of the preset.
    """

    autoencoder: int
    diffusion: int
    judge: int
    study: int
    evaluated: int
    warmup: dict[str, int]

    def model_values(self) -> tuple[str, ...]:
        """Replaced values of the preset for the model's training."""
        return (*self._values("autoencoder", self.autoencoder), *self._values("diffusion", self.diffusion))

    def judge_values(self) -> tuple[str, ...]:
        """Replaced values of the preset for the classifier that coherence is measured with."""
        return self._values("classifier", self.judge)

    def study_values(self) -> tuple[str, ...]:
        """Replaced values of the preset for the classifiers of the tables."""
        return self._values("classifier", self.study)

    def _values(self, stage: str, steps: int) -> tuple[str, ...]:
        warmup = min(self.warmup[stage], steps // 20)
        return f"{stage}_stage.steps={steps}", f"{stage}_stage.warmup_steps={warmup}"


def divide_budget(options: ChainOptions, speeds: Speeds, objects: dict[str, int], views: int) -> StageLengths:
    """Divide a budget.

    Args:
        options: What the chain is asked to do, with a budget in minutes.
        speeds: Seconds of an optimiser step, and of an evaluated object, as measured here.
        objects: In each of the parts d, c and e.
        views: The number of views of an object.

    Raises:
        InputError: The budget is too small for anything.
    """
    config = load_preset(options.preset, options.overrides)
    total = 60 * options.budget - speeds.trial
    seconds = {stage: share * max(total, 0) for stage, share in SHARES.items()}
    seconds["diffusion"] -= _encoding(config, speeds, objects["d"], views)
    trainings = 2 * options.seeds * (2 if options.weights else 1)  # Omega_s and Omega_m
    each = trainings * sum(speeds.classifiers[name] for name in options.classifiers.split(","))
    judge = next(iter(speeds.classifiers.values()))
    steps = {
        "autoencoder": _fit(seconds["autoencoder"], speeds.autoencoder, config.autoencoder_stage, objects["d"] * views),
        "diffusion": _fit(seconds["diffusion"], speeds.diffusion, config.diffusion_stage, objects["d"]),
        "judge": _fit(seconds["judge"], judge, config.classifier_stage, objects["d"] * views),
        "study": _fit(seconds["study"], each, config.classifier_stage, objects["c"]),
    }
    short = [name for name, count in steps.items() if count == 0]
    evaluated = min(int(seconds["evaluation"] / max(speeds.evaluation, 1e-9)), objects["e"])
    if short or evaluated < 2:
        raise InputError(
            f"--minutes {options.budget:g}: too short for {', '.join(short) or 'the evaluation'} here, after "
            f"{speeds.trial / 60:.1f} minutes of measuring; give more minutes, fewer --seeds, or a smaller --preset"
        )
    stages = {"autoencoder": config.autoencoder_stage, "diffusion": config.diffusion_stage}
    stages["classifier"] = config.classifier_stage
    return StageLengths(
        **steps, evaluated=evaluated, warmup={name: stage.warmup_steps for name, stage in stages.items()}
    )


def _fit(seconds: float, per_step: float, config: StageConfig, items: int) -> int:
    """Steps that fit some seconds, at most those of the configuration; 0 where they are too few to be of use."""
    total = config.total_steps(items)
    steps = min(math.floor(max(seconds, 0) / max(per_step, 1e-9)), total)
    return steps if steps >= min(LEAST_STEPS, total) else 0


def _encoding(config: TrainConfig, speeds: Speeds, objects: int, views: int) -> float:
    """Seconds to encode the training set, with its mirrored and recoloured copies."""
    return (
        objects
        * views
        * len(training_variants(config))
        * ENCODING
        * speeds.autoencoder
        / config.autoencoder_stage.batch
    )


OBJECTS = 64  # of d
EVALUATED = 4
STEPS, EVERY = 12, 4  # the first steps are slower, so speed is measured between points of the learning curve

Execute = Callable[[Sequence[str]], None]


def measure_speeds(
    options: ChainOptions, partitions: Partitions, folder: Path, execute: Execute, *, device: str, skip_bad: bool
) -> Speeds:
    """Train and evaluate a little, in a folder that is removed afterwards.

    Args:
        options: What the chain is asked to do.
        partitions: The parts d, c and e of the data.
        folder: To work in; what is there is removed.
        execute: Runs a command line, without the program's name.
        device: The device that computes.
        skip_bad: Unreadable files are no error.
    """
    began = time.monotonic()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    short = [
        f"{table}_stage.{name}={value}"
        for table in ("autoencoder", "diffusion", "classifier")
        for name, value in (("steps", STEPS), ("log_every", EVERY), ("warmup_steps", 0), ("sheet_every", 0))
    ]
    make = StageMaker(dataclasses.replace(options, values=(*options.values, *short)), folder, device, skip_bad)
    few = dataclasses.replace(partitions, d=tuple(spread(partitions.d, OBJECTS)))
    save_partitions(few, folder / PARTITION)
    execute(make.model().command)
    classifiers = {}
    for name in dict.fromkeys((JUDGE, *options.classifiers.split(","))):
        place = folder / (MODEL if name == JUDGE else name)
        execute(make.classifier(place, name).command)
        classifiers[name] = seconds_per_step(place / CLASSIFIER / "classifier.csv")
    before = time.monotonic()
    execute([*make.evaluation().command, "--limit", str(EVALUATED)])
    evaluated = (time.monotonic() - before) / EVALUATED
    speeds = Speeds(
        autoencoder=seconds_per_step(folder / MODEL / "autoencoder.csv"),
        diffusion=seconds_per_step(folder / MODEL / "diffusion.csv"),
        classifiers=classifiers,
        evaluation=evaluated,
        trial=time.monotonic() - began,
    )
    shutil.rmtree(folder)
    return speeds


def seconds_per_step(curve: Path) -> float:
    """The speed between the first and the last point of a learning curve.

    Raises:
        DimvidaError: It has fewer than two points.
    """
    with open(curve) as file:
        points = [(int(row["step"]), float(row["seconds"])) for row in csv.DictReader(file)]
    if len(points) < 2:
        raise DimvidaError(f"{curve}: too short to tell the speed; leave out --minutes")
    (first, began), (last, ended) = points[0], points[-1]
    # The curve has tenths of a second; a machine faster than that has time for everything anyway.
    return max(ended - began, 0.1) / (last - first)
