"""Completed views to samples: image files, or pixels, with what the metadata say about each of them.

Image files are the same bytes for the same pixels; PNGs are written by an encoder of our own, which is fast.
"""

from __future__ import annotations

import hashlib
import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
from torch import Tensor

from dimvida._version import __version__
from dimvida.data.image_files import PNG_SIGNATURE, png_chunk
from dimvida.data.images import to_picture
from dimvida.generation.formats import FORMATS
from dimvida.generation.formats.base import Sample
from dimvida.generation.names import FileNames
from dimvida.generation.plan import GenerationPlan, Row
from dimvida.generation.read import ReadBatch
from dimvida.generation.settings import IMAGE_FORMATS, QUALITY, GenerationSettings
from dimvida.sampling.trajectory import sample_id

_COLOUR_TYPES = {1: 0, 3: 2}  # of PNG, by channels


class Packer:
    """Packs rows of batches; safe to use from many threads at once.

    Args:
        plan: The run's plan.
        settings: The run's settings: the form of the output and the kind of image among them.
        names: The names of the plan's rows.
        checkpoint: SHA-256 of the checkpoint.

    Attributes:
        suffix: Suffix of image files, with the dot; empty for a form of arrays.
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


def image_encoder(image_format: str, quality: int | None = None) -> Callable[[np.ndarray], bytes]:
    """A function from uint8 pixels, RGB [H, W, 3] or gray [H, W, 1], to the bytes of an image file.

    Args:
        image_format: One of ``IMAGE_FORMATS`` (in ``settings``).
        quality: 1 to 100, for JPEG and WebP; PNG has none.
    """
    if image_format == "png":
        return encode_png
    options: dict[str, Any] = {"format": image_format.upper(), "quality": QUALITY if quality is None else quality}
    if image_format == "jpeg":
        options["subsampling"] = 0  # at this size a halved chroma shows

    def encode(pixels: np.ndarray) -> bytes:
        buffer = io.BytesIO()
        to_picture(pixels).save(buffer, **options)
        return buffer.getvalue()

    return encode


def encode_png(pixels: np.ndarray) -> bytes:
    """PNG of uint8 [H, W, 3], or a gray one of [H, W, 1].

    Each row is stored as its difference from the one above, and compressed with zlib's run-length strategy: views on
    a plain ground are mostly runs then. That is two and a half times as fast as Pillow's fastest setting, and the
    files have the same size (benchmarks/generation.md).
    """
    height, width, channels = pixels.shape
    flat = pixels.reshape(height, width * channels)
    rows = np.empty((height, 1 + width * channels), np.uint8)
    rows[:, 0] = 2  # filter "up"
    rows[0, 1:] = flat[0]
    np.subtract(flat[1:], flat[:-1], out=rows[1:, 1:])
    packer = zlib.compressobj(1, zlib.DEFLATED, 15, 9, zlib.Z_RLE)
    data = packer.compress(rows) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 8, _COLOUR_TYPES[channels], 0, 0, 0)
    return PNG_SIGNATURE + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", data) + png_chunk(b"IEND", b"")
