"""Objects with their missing views generated, kept on disk.

<folder>/<digest>/set.json                      what decides about the views
<folder>/<digest>/draw-0/part-0000.safetensors  uint8 [n, V, 3, H, W], the objects of one batch

A part is there whole or not at all, so that a killed run loses one batch. A damaged one is made again.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from dimvida._version import __version__
from dimvida.classification.views import SingleViews
from dimvida.files import atomic_write
from dimvida.sampling.multiview import MultiViewModel
from dimvida.sampling.trajectory import sample_id_tensor
from dimvida.training.control import Interrupt, Interrupted, StartProgress
from dimvida.training.state import keep, kept


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
class Completions:
    """The views of some objects by one generator and sampler; made when asked for, read again later.

    Attributes:
        folder: Where such sets are kept.
        name: What they are called while they are made.
        model: The generator.
        objects: The known views.
        sampler: How.
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
        """All views of all objects, the known ones bit for bit: uint8 [N, V, 3, H, W].

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
            views = kept(path, "views", key)
            if views is None:
                if interrupt.requested:
                    raise Interrupted
                done = index * self.sampler.batch
                show = show or watch(f"{self.name}, draw {number}", len(self.objects), "objects", done)
                views = self._generate(part, number)
                keep(path, "views", views, key)
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
