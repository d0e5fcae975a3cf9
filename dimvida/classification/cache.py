"""What a study makes and keeps on disk: completed objects, trained classifiers, and what these say of those.

generated/<digest>/set.json                      what decides about the views
generated/<digest>/draw-0/part-0000.safetensors  uint8 [n, V, C, H, W], the objects of one batch
classifiers/<name>-seed<S>-<digest>/             see ``dimvida.training.classifier``
    logits-<set>-<draw>.safetensors              float32 [N, V, K] of a set of completed objects

All of it is found again, by digests of whatever decides about it. A part is there whole or not at all, so that a killed
run loses one batch. What is damaged is made again.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from dimvida._version import __version__
from dimvida.classification.design import Recipe
from dimvida.classification.objects import SingleViews
from dimvida.files import atomic_write
from dimvida.models.classifiers import ImageClassifier, predict_logits
from dimvida.sampling.multiview import MultiViewModel
from dimvida.sampling.trajectory import sample_id_tensor
from dimvida.training.classifier import ClassifierPlan, ClassifierRun
from dimvida.training.config import TrainConfig
from dimvida.training.control import Interrupt, Interrupted, StartProgress
from dimvida.training.data import LabelledImages
from dimvida.training.stage_config import ClassifierStageConfig
from dimvida.training.state import load_cached_tensor, save_cached_tensor


@dataclass(frozen=True, slots=True)
class Sampler:
    """How views are generated, with nothing left open; see ``MultiViewModel.generate``.

    Attributes:
        batch: Objects at a time; the last bit of a pixel may depend on it.
    """

    solver: str
    steps: int
    seed: int
    backend: str
    dtype: str
    batch: int


@dataclass(frozen=True)
class CompletedObjects:
    """All views of some objects, the missing ones by one generator and sampler; made when asked for, read again later.

    Attributes:
        folder: Where such sets are kept.
        name: What they are called while they are made.
        model: The generator.
        objects: The known views.
        sampler: Solver, steps, seed and type that the missing views are generated with.
    """

    folder: Path
    name: str
    model: MultiViewModel
    objects: SingleViews
    sampler: Sampler

    def description(self) -> dict[str, object]:
        """Everything that decides about the views."""
        return {
            "version": __version__,
            "checkpoint": self.model.checkpoint_hash,
            "objects": self.objects.digest,
            **dataclasses.asdict(self.sampler),
        }

    @cached_property
    def digest(self) -> str:
        """Hex SHA-256 of the description."""
        return hashlib.sha256(json.dumps(self.description(), sort_keys=True).encode()).hexdigest()

    def draw(self, number: int, watch: StartProgress, interrupt: Interrupt) -> Tensor:
        """All views of all objects, the known ones bit for bit: uint8 [N, V, C, H, W].

        Args:
            number: Which of several independent draws.
            watch: Called when generation begins.
            interrupt: Asked before each batch whether to stop.

        Raises:
            Interrupted: It was interrupted; finished batches are kept.
        """
        place = self.folder / self.digest[:16]
        parts = place / f"draw-{number}"
        parts.mkdir(parents=True, exist_ok=True)
        if not (place / "set.json").exists():
            atomic_write(place / "set.json", json.dumps(self.description(), indent=1) + "\n")
        completed = []
        show = None
        for index, part in enumerate(self._batches()):
            path = parts / f"part-{index:04d}.safetensors"
            key = f"{self.digest} {number} {index}"
            views = load_cached_tensor(path, "views", key)
            if views is None:
                if interrupt.requested:
                    raise Interrupted
                done = index * self.sampler.batch
                show = show or watch(f"{self.name}, draw {number}", len(self.objects), "objects", done)
                views = self._generate(part, number)
                save_cached_tensor(path, "views", views, key)
                show(done + len(part))
            completed.append(views)
        return torch.cat(completed)

    def _batches(self) -> Iterator[SingleViews]:
        size = self.sampler.batch
        return (self.objects.rows(slice(start, start + size)) for start in range(0, len(self.objects), size))

    def _generate(self, part: SingleViews, number: int) -> Tensor:
        known = part.known()
        views = torch.zeros(*known.shape, *part.images.shape[1:], dtype=torch.uint8)
        views[known] = part.images
        sampler = self.sampler
        return self.model.generate(
            views,
            known,
            steps=sampler.steps,
            solver=sampler.solver,
            seed=sampler.seed,
            sample_ids=sample_id_tensor(part.ids, number),
            backend=sampler.backend,
            dtype=getattr(torch, sampler.dtype),
        )


@dataclass(slots=True)
class TrainedClassifiers:
    """Classifiers and what they say of completed objects; made when asked for, read again later.

    Attributes:
        folder: Where classifiers are kept.
        config: Steps, batch, learning rate and augmentation of their training.
        c: The objects, completed, that they are trained on.
        classes: Names of the labels.
        device: The device that computes.
        watch: Called when something long begins.
        interrupt: Asked between steps whether to stop.
    """

    folder: Path
    config: TrainConfig
    c: CompletedObjects
    classes: tuple[str, ...]
    device: torch.device
    watch: StartProgress
    interrupt: Interrupt

    def steps(self, recipe: Recipe) -> int:
        """Optimiser steps of a recipe."""
        return self._stage(recipe).steps

    def run(self, recipe: Recipe, seed: int) -> ClassifierRun:
        """Where a recipe is, or will be, trained with a seed."""
        plan = ClassifierPlan(recipe.classifier, self._stage(recipe), seed, recipe.weights)
        objects = self.c.objects.digest + "".join(f"\0{name}" for name in self.classes)
        # Omega_s does not know of the generator: another checkpoint leaves it as it is.
        pictures = f"{objects} {self.c.digest} {recipe.draws}" if recipe.augmented else objects
        digest = plan.digest(pictures)
        return self._place(f"{recipe.classifier}-{recipe.train}-seed{seed}", plan, digest)

    def train(self, recipe: Recipe, seed: int, work: str) -> ClassifierRun:
        """Train it, unless it is.

        Raises:
            Interrupted: It was interrupted; the state is saved.
        """
        run = self.run(recipe, seed)
        run.train(lambda: self._pictures(recipe), self.watch, work)
        return run

    def train_on(self, name: str, plan: ClassifierPlan, key: str, read: Callable[[], LabelledImages]) -> ClassifierRun:
        """Train a classifier on other data, which ``key`` stands for, unless it is."""
        run = self._place(name, plan, plan.digest(key))
        run.train(read, self.watch, name)
        return run

    def logits(self, run: ClassifierRun, objects: CompletedObjects, draw: int = 0) -> Tensor:
        """The logits of a finished classifier for every view, float32 [N, V, K].

        Raises:
            Interrupted: It was interrupted while views were generated.
        """
        name = f"logits-{objects.digest[:16]}-{draw}.safetensors"
        return self._kept(run.folder / name, run.digest, run.load, objects, draw)

    def given_logits(self, classifier: ImageClassifier, objects: CompletedObjects) -> Tensor:
        """The logits of a classifier that was made elsewhere, float32 [N, V, K] of its own K classes."""
        weights = hashlib.sha256(repr(classifier.config).encode())
        for tensor in classifier.state_dict().values():
            weights.update(memoryview(tensor.cpu().contiguous().numpy()))
        digest = weights.hexdigest()
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"given-{digest[:16]}-{objects.digest[:16]}.safetensors"
        return self._kept(path, digest, lambda: classifier.to(self.device), objects, 0)

    def _kept(
        self, path: Path, digest: str, load: Callable[[], ImageClassifier], objects: CompletedObjects, draw: int
    ) -> Tensor:
        key = f"{digest} {objects.digest} {draw}"
        logits = load_cached_tensor(path, "logits", key)
        if logits is not None:
            return logits
        views = objects.draw(draw, self.watch, self.interrupt)
        if self.interrupt.requested:
            raise Interrupted
        logits = predict_logits(load(), views.flatten(0, 1), device=self.device).unflatten(0, views.shape[:2])
        save_cached_tensor(path, "logits", logits, key)
        return logits

    def _pictures(self, recipe: Recipe) -> LabelledImages:
        numbers = range(recipe.draws) if recipe.augmented else ()
        draws = [self.c.draw(number, self.watch, self.interrupt) for number in numbers]
        return training_set(recipe, self.c.objects, draws, self.classes)

    def _stage(self, recipe: Recipe) -> ClassifierStageConfig:
        objects = self.c.objects
        return recipe.stage(self.config.classifier_stage, len(objects), len(objects.view_names))

    def _place(self, name: str, plan: ClassifierPlan, digest: str) -> ClassifierRun:
        self.folder.mkdir(parents=True, exist_ok=True)
        return ClassifierRun(self.folder / f"{name}-{digest[:12]}", plan, digest, self.device, self.interrupt)


def training_set(recipe: Recipe, c: SingleViews, draws: list[Tensor], classes: tuple[str, ...]) -> LabelledImages:
    """The pictures of a recipe: the views of c and, for ca, those generated from them.

    Args:
        recipe: How the classifier is trained.
        c: The real views.
        draws: All views of c, completed, uint8 [N, V, C, H, W] each; ``recipe.draws`` of them for ca, else none.
        classes: Names of the labels.
    """
    images, labels = [c.images], [c.labels]
    missing = ~c.known()
    for views in draws if recipe.augmented else []:
        images.append(views[missing])
        labels.append(c.labels[:, None].expand_as(missing)[missing])
    nothing = c.images[:0], c.labels[:0]
    description = {"part": recipe.train, "objects": len(c), "samples_per_view": recipe.draws if recipe.augmented else 0}
    return LabelledImages(torch.cat(images), torch.cat(labels), classes, *nothing, description)
