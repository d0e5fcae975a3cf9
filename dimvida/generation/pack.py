"""Completed views to samples: image files, or pixels, with what the metadata say about them."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from dimvida.generation.encoding import IMAGE_FORMATS, image_encoder
from dimvida.generation.formats import FORMATS
from dimvida.generation.formats.base import Picture, Sample
from dimvida.generation.lines import LineMaker
from dimvida.generation.names import FileNames
from dimvida.generation.plan import GenerationPlan
from dimvida.generation.read import GivenBatch
from dimvida.generation.settings import GenerationSettings


class Packer:
    """Packs rows of batches; safe to use from many threads at once.

    Args:
        plan: The run's plan.
        settings: Which form, which kind of image.
        names: The rows' names.
        checkpoint: Hash of the checkpoint.
    """

    def __init__(self, plan: GenerationPlan, settings: GenerationSettings, names: FileNames, checkpoint: str) -> None:
        self._names = names
        self._places = {view: place for place, view in enumerate(plan.view_names)}
        self._labels = {name: label for label, name in enumerate(plan.source.classes)}
        self._lines = LineMaker(plan, settings, checkpoint)
        self.suffix = IMAGE_FORMATS[settings.image_format] if settings.image_format else ""
        form = FORMATS[settings.format]
        self._every_view = form.every_view
        self._encode = np.ndarray.tobytes if form.arrays else image_encoder(settings.image_format, settings.quality)

    def pack(self, given: GivenBatch, views: Tensor, rows: slice) -> list[Sample]:
        """Samples of some rows of a batch.

        Args:
            given: The batch.
            views: uint8 [B, V, C, H, W], completed.
            rows: Which rows.
        """
        pixels = views[rows].permute(0, 1, 3, 4, 2).contiguous().numpy()  # [rows, V, H, W, C]
        return [
            self._sample(given, place, pictures)
            for place, pictures in zip(range(*rows.indices(len(given.rows))), pixels, strict=True)
        ]

    def _sample(self, given: GivenBatch, place: int, pixels: np.ndarray) -> Sample:
        row, hashes = given.rows[place], given.hashes[place]
        pictures = []
        for view, kind in self._lines.written(row):
            data = self._encode(pixels[self._places[view]])
            pictures.append(Picture(view, data, self._lines.line(row, view, kind, data, hashes)))
        unwritten = self._lines.unwritten(row, hashes) if self._every_view else ()
        label = self._labels.get(row.task.record.class_name)
        return Sample(self._names.key(row.task, row.draw), label, pictures, unwritten)
