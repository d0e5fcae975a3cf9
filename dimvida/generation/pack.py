"""Completed views to samples: image files, or pixels, with what the metadata say about each of them."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from torch import Tensor

from dimvida._version import __version__
from dimvida.generation.encoding import IMAGE_FORMATS, image_encoder
from dimvida.generation.formats import FORMATS
from dimvida.generation.formats.base import Sample
from dimvida.generation.names import FileNames
from dimvida.generation.plan import GenerationPlan, Row
from dimvida.generation.read import ReadBatch
from dimvida.generation.settings import GenerationSettings
from dimvida.sampling.trajectory import sample_id


class Packer:
    """Packs rows of batches; safe to use from many threads at once.

    Args:
        plan: The run's plan.
        settings: How it generates, in which form and which kind of image.
        names: The rows' names.
        checkpoint: Hash of the checkpoint.

    Attributes:
        suffix: Of image files, with the dot; empty for a form of arrays.
    """

    def __init__(self, plan: GenerationPlan, settings: GenerationSettings, names: FileNames, checkpoint: str) -> None:
        self._settings, self._names, self._checkpoint = settings, names, checkpoint
        self._places = {view: place for place, view in enumerate(plan.view_names)}
        self._labels = {name: label for label, name in enumerate(plan.source.classes)}
        self.suffix = IMAGE_FORMATS[settings.image_format] if settings.image_format else ""
        form = FORMATS[settings.format]
        self._every_view = form.every_view
        self._encode = np.ndarray.tobytes if form.arrays else image_encoder(settings.image_format, settings.quality)

    def pack(self, batch: ReadBatch, views: Tensor, rows: slice) -> list[Sample]:
        """Pack some rows of a batch.

        Args:
            batch: The batch.
            views: uint8 [B, V, C, H, W], completed.
            rows: Which rows.
        """
        pixels = views[rows].permute(0, 1, 3, 4, 2).contiguous().numpy()  # [rows, V, H, W, C]
        return [
            self._sample(row, hashes, pictures)
            for row, hashes, pictures in zip(batch.rows[rows], batch.hashes[rows], pixels, strict=True)
        ]

    def _sample(self, row: Row, hashes: dict[str, str], pixels: np.ndarray) -> Sample:
        """One row, of pixels [V, H, W, C]; ``hashes`` are those of the known views' files."""
        kinds = dict.fromkeys(row.task.targets, "generated")
        if self._settings.include_known:
            kinds |= dict.fromkeys(row.task.known, "real")
        pictures, unwritten = [], []
        for view, place in self._places.items():
            if view in kinds:
                data = self._encode(pixels[place])
                sha256 = hashlib.sha256(data).hexdigest()
                pictures.append((data, self._line(row, view, kinds[view], sha256, hashes)))
            elif self._every_view:
                unwritten.append(self._line(row, view, "", None, hashes))
        label = self._labels.get(row.task.record.class_name)
        return Sample(self._names.key(row.task, row.draw), label, pictures, unwritten)

    def _line(self, row: Row, view: str, kind: str, sha256: str | None, hashes: dict[str, str]) -> dict[str, Any]:
        """What the metadata say about one view."""
        record, settings, made = row.task.record, self._settings, kind == "generated"
        return {
            "source": record.id,
            # Every view is named, so that all lines have the same fields whatever is known.
            "source_sha256": {other: hashes.get(other) for other in self._places},
            "view": view,
            "kind": kind,
            "label": record.class_name or None,
            "known": list(row.task.known),
            "seed": settings.seed if made else None,
            "sample_id": sample_id(record.id, row.draw) if made else None,
            "draw": row.draw,
            "checkpoint": self._checkpoint if made else None,
            "solver": settings.solver if made else None,
            "steps": settings.steps if made else None,
            "dtype": settings.dtype if made else None,
            "backend": settings.backend if made else None,
            "version": __version__,
            "sha256": sha256,
        }
