"""Lengths of the stages that fit a budget of time.

A budget is divided by fixed shares. What a step costs is measured in a short trial on a few objects of the data; a
stage then gets as many steps as fit its share, at most the preset's.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from dimvida.errors import InputError
from dimvida.reproduction.settings import Settings
from dimvida.training.config import TrainConfig, load_preset
from dimvida.training.latents import object_variants
from dimvida.training.stage_config import StageConfig

# Of the budget less the trial; the rest is for reading, encoding, generating, the report, and what goes wrong.
SHARES = {"autoencoder": 0.35, "diffusion": 0.2, "judge": 0.06, "evaluation": 0.06, "study": 0.22}

LEAST_STEPS = 20
ENCODING = 1 / 4  # of a picture's share in a training step: the encoder forwards only, of two networks both ways


@dataclass(frozen=True, slots=True)
class Speeds:
    """What was measured.

    Attributes:
        autoencoder, diffusion: Seconds per optimiser step.
        classifiers: Seconds per optimiser step by name; the first is the judge's.
        evaluation: Seconds per object.
        trial: Seconds that the measurement took.
    """

    autoencoder: float
    diffusion: float
    classifiers: dict[str, float]
    evaluation: float
    trial: float


@dataclass(frozen=True, slots=True)
class Plan:
    """How long every stage is.

    Attributes:
        autoencoder, diffusion, judge: Optimiser steps.
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
        """For the classifier that coherence is measured with."""
        return self._values("classifier", self.judge)

    def study_values(self) -> tuple[str, ...]:
        """For the classifiers of the tables."""
        return self._values("classifier", self.study)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return dataclasses.asdict(self)

    def _values(self, stage: str, steps: int) -> tuple[str, ...]:
        warmup = min(self.warmup[stage], steps // 20)
        return f"{stage}_stage.steps={steps}", f"{stage}_stage.warmup_steps={warmup}"


def make_plan(settings: Settings, speeds: Speeds, objects: dict[str, int], views: int) -> Plan:
    """Divide a budget.

    Args:
        settings: With a budget.
        speeds: Measured ones.
        objects: In each of the parts d, c and e.
        views: Of an object.

    Raises:
        InputError: The budget is too small for anything.
    """
    config = load_preset(settings.preset, settings.overrides)
    total = 60 * settings.budget - speeds.trial
    seconds = {stage: share * max(total, 0) for stage, share in SHARES.items()}
    seconds["diffusion"] -= _encoding(config, speeds, objects["d"], views)
    trainings = 2 * settings.seeds * (2 if settings.weights else 1)  # Omega_s and Omega_m
    each = trainings * sum(speeds.classifiers[name] for name in settings.classifiers.split(","))
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
            f"--minutes {settings.budget:g}: too short for {', '.join(short) or 'the evaluation'} here, after "
            f"{speeds.trial / 60:.1f} minutes of measuring; give more minutes, fewer --seeds, or a smaller --preset"
        )
    stages = {"autoencoder": config.autoencoder_stage, "diffusion": config.diffusion_stage}
    stages["classifier"] = config.classifier_stage
    return Plan(**steps, evaluated=evaluated, warmup={name: stage.warmup_steps for name, stage in stages.items()})


def plan_from_dict(values: dict[str, Any]) -> Plan:
    """The plan that a chain was begun with."""
    return Plan(**values)


def _fit(seconds: float, per_step: float, config: StageConfig, items: int) -> int:
    """Steps that fit some seconds, at most those of the configuration; 0 where they are too few to be of use."""
    total = config.total_steps(items)
    steps = min(math.floor(max(seconds, 0) / max(per_step, 1e-9)), total)
    return steps if steps >= min(LEAST_STEPS, total) else 0


def _encoding(config: TrainConfig, speeds: Speeds, objects: int, views: int) -> float:
    """Seconds to encode the training set, with its mirrored and recoloured copies."""
    stage = config.diffusion_stage
    copies = len(object_variants(config.autoencoder.channels, mirror=stage.mirror, recolour=stage.recolour))
    return objects * views * copies * ENCODING * speeds.autoencoder / config.autoencoder_stage.batch
