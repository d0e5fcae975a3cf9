"""Trained classifiers and what they say of completed objects, kept on disk.

<folder>/<classifier>-<train>-seed<S>-<digest>/   see ``dimvida.training.classifier``
    logits-<set>-<draw>.safetensors               float32 [N, V, K] of a set of completions
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from dimvida.classification.arms import Arm, training_set
from dimvida.classification.cache import Completions
from dimvida.models.classifiers import ImageClassifier, predict_logits
from dimvida.training.classifier import ClassifierPlan, ClassifierRun
from dimvida.training.config import TrainConfig
from dimvida.training.control import Interrupt, Interrupted, StartProgress
from dimvida.training.data import LabelledImages
from dimvida.training.stage_config import ClassifierStageConfig
from dimvida.training.state import keep, kept


@dataclass(slots=True)
class Workshop:
    """Makes whatever a study asks for, unless it is on disk already.

    Attributes:
        folder: Where classifiers are kept.
        config: How they are trained.
        c: Completions of the objects that they are trained on.
        classes: Names of the labels.
        device: Where to compute.
        watch: Called when something long begins.
        interrupt: Asked between steps whether to stop.
    """

    folder: Path
    config: TrainConfig
    c: Completions
    classes: tuple[str, ...]
    device: torch.device
    watch: StartProgress
    interrupt: Interrupt

    def steps(self, arm: Arm) -> int:
        """Optimiser steps of an arm."""
        return self._stage(arm).steps

    def run(self, arm: Arm, seed: int) -> ClassifierRun:
        """Where an arm is, or will be, trained with a seed."""
        plan = ClassifierPlan(arm.classifier, self._stage(arm), seed, arm.weights)
        objects = self.c.objects.digest + "".join(f"\0{name}" for name in self.classes)
        # Omega_s does not know of the generator: another checkpoint leaves it as it is.
        pictures = f"{objects} {self.c.digest} {arm.draws}" if arm.augmented else objects
        digest = plan.digest(pictures)
        return self._place(f"{arm.classifier}-{arm.train}-seed{seed}", plan, digest)

    def train(self, arm: Arm, seed: int, work: str) -> ClassifierRun:
        """Train it, unless it is.

        Raises:
            Interrupted: It was interrupted; the state is saved.
        """
        run = self.run(arm, seed)
        run.train(lambda: self._pictures(arm), self.watch, work)
        return run

    def train_on(self, name: str, plan: ClassifierPlan, key: str, read: Callable[[], LabelledImages]) -> ClassifierRun:
        """Train a classifier on other data, which ``key`` stands for, unless it is."""
        run = self._place(name, plan, plan.digest(key))
        run.train(read, self.watch, name)
        return run

    def logits(self, run: ClassifierRun, completions: Completions, draw: int = 0) -> Tensor:
        """What a finished classifier says of every view, float32 [N, V, K].

        Raises:
            Interrupted: It was interrupted while views were generated.
        """
        name = f"logits-{completions.digest[:16]}-{draw}.safetensors"
        return self._kept(run.folder / name, run.digest, run.load, completions, draw)

    def given_logits(self, digest: str, classifier: ImageClassifier, completions: Completions) -> Tensor:
        """The same of a classifier that was made elsewhere, which ``digest`` stands for."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"given-{digest[:16]}-{completions.digest[:16]}.safetensors"
        return self._kept(path, digest, lambda: classifier.to(self.device), completions, 0)

    def _kept(
        self, path: Path, digest: str, load: Callable[[], ImageClassifier], completions: Completions, draw: int
    ) -> Tensor:
        key = f"{digest} {completions.digest} {draw}"
        logits = kept(path, "logits", key)
        if logits is not None:
            return logits
        views = completions.draw(draw, self.watch, self.interrupt)
        if self.interrupt.requested:
            raise Interrupted
        logits = predict_logits(load(), views.flatten(0, 1), device=self.device).unflatten(0, views.shape[:2])
        keep(path, "logits", logits, key)
        return logits

    def _pictures(self, arm: Arm) -> LabelledImages:
        numbers = range(arm.draws) if arm.augmented else ()
        draws = [self.c.draw(number, self.watch, self.interrupt) for number in numbers]
        return training_set(arm, self.c.objects, draws, self.classes)

    def _stage(self, arm: Arm) -> ClassifierStageConfig:
        objects = self.c.objects
        return arm.stage(self.config.classifier_stage, len(objects), len(objects.view_names))

    def _place(self, name: str, plan: ClassifierPlan, digest: str) -> ClassifierRun:
        self.folder.mkdir(parents=True, exist_ok=True)
        return ClassifierRun(self.folder / f"{name}-{digest[:12]}", plan, digest, self.device, self.interrupt)
