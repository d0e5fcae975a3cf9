"""How classifiers are trained: on c or on ca, with standard augmentation or without, for how long."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor

from dimvida.classification.views import SingleViews
from dimvida.training.data import LabelledImages
from dimvida.training.stage_config import ClassifierStageConfig

SCRATCH, FINETUNED = "scratch", "finetuned"
BUDGETS = ("steps", "epochs")


@dataclass(frozen=True, slots=True)
class Arm:
    """One way to train a classifier; each seed gives one classifier.

    Attributes:
        classifier: One of ``dimvida.models.classifiers.CLASSIFIERS``.
        weights: What it starts from, None for random weights.
        augmented: Also trained on the generated views (ca), which makes it Omega_m instead of Omega_s.
        draws: Samples of each generated view.
        transformed: Trained with TrivialAugmentWide.
        budget: What is equal to Omega_s: the number of optimiser ``steps``, or of passes over its set (``epochs``).
    """

    classifier: str
    weights: str | None = None
    augmented: bool = False
    draws: int = 1
    transformed: bool = False
    budget: str = "steps"

    @property
    def train(self) -> str:
        """What it is trained on: ``c``, ``ca``, ``c+taw`` or ``ca+taw``."""
        return ("ca" if self.augmented else "c") + ("+taw" if self.transformed else "")

    @property
    def model(self) -> str:
        """The paper's name."""
        return "omega_m" if self.augmented else "omega_s"

    @property
    def table(self) -> str:
        """Which of the two tables it is in."""
        return SCRATCH if self.weights is None else FINETUNED

    def pictures(self, views: int) -> int:
        """Pictures of each object, with V views."""
        return 1 + (views - 1) * self.draws if self.augmented else 1

    def stage(self, config: ClassifierStageConfig, objects: int, views: int) -> ClassifierStageConfig:
        """The training's configuration, its length fixed by the budget.

        Args:
            config: What Omega_s has: its steps, or its epochs over c.
            objects: Objects in c.
            views: V.
        """
        steps = config.total_steps(objects)
        if self.budget == "epochs":
            steps *= self.pictures(views)
        augment = "trivial-augment-wide" if self.transformed else config.augment
        return dataclasses.replace(config, steps=steps, augment=augment)


def training_set(arm: Arm, c: SingleViews, draws: list[Tensor], classes: tuple[str, ...]) -> LabelledImages:
    """The pictures that an arm is trained on: the views of c and, for ca, those generated from them.

    Args:
        arm: Which one.
        c: The real views.
        draws: Completions of c, uint8 [N, V, 3, H, W] each; ``arm.draws`` of them for ca, else none.
        classes: Names of the labels.
    """
    images, labels = [c.images], [c.labels]
    missing = ~c.known()
    for views in draws if arm.augmented else []:
        images.append(views[missing])
        labels.append(c.labels[:, None].expand_as(missing)[missing])
    nothing = c.images[:0], c.labels[:0]
    description = {"part": arm.train, "objects": len(c), "samples_per_view": arm.draws if arm.augmented else 0}
    return LabelledImages(torch.cat(images), torch.cat(labels), classes, *nothing, description)
