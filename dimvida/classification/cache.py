"""What a study makes and keeps on disk beside its classifiers: completed objects, and what classifiers say of those.

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
from dimvida.classification.objects import SingleViews
from dimvida.files import atomic_write
from dimvida.models.classifiers import ImageClassifier, predict_logits
from dimvida.sampling.multiview import MultiViewModel
from dimvida.sampling.trajectory import sample_id_tensor
from dimvida.training.classifier import ClassifierRun
from dimvida.training.control import Interrupt, Interrupted, StartProgress
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
        folder: The folder that keeps completed objects, a file for each draw.
        name: What they are called while they are made.
        model: The generator of the missing views.
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


@dataclass(frozen=True, slots=True)
class CachedLogits:
    """What classifiers say of completed objects; asked once, read again later.

    Attributes:
        device: The device that computes.
        watch: Called when views are generated.
        interrupt: Asked whether to stop.
    """

    device: torch.device
    watch: StartProgress
    interrupt: Interrupt

    def of_trained(self, run: ClassifierRun, objects: CompletedObjects, draw: int = 0) -> Tensor:
        """The logits of a finished classifier for every view, float32 [N, V, K].

        Raises:
            Interrupted: It was interrupted while views were generated.
        """
        name = f"logits-{objects.digest[:16]}-{draw}.safetensors"
        return self._kept(run.folder / name, run.digest, run.load, objects, draw)

    def of_given(self, folder: Path, classifier: ImageClassifier, objects: CompletedObjects) -> Tensor:
        """The logits of a classifier that was made elsewhere, float32 [N, V, K] of its own K classes.

        Args:
            folder: The folder that keeps the logits, a file for each classifier.
            classifier: It is named by its weights.
            objects: The completed objects; the logits are of their first draw.
        """
        weights = hashlib.sha256(repr(classifier.config).encode())
        for tensor in classifier.state_dict().values():
            weights.update(memoryview(tensor.cpu().contiguous().numpy()))
        digest = weights.hexdigest()
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"given-{digest[:16]}-{objects.digest[:16]}.safetensors"
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
