"""Completed views to samples: image files, or pixels, with what the metadata say about each of them.

Image files are the same bytes for the same pixels; PNGs are written by an encoder of our own, which is fast.
"""

from __future__ import annotations

import hashlib
import io
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from dimvida._version import __version__
from dimvida.data.image_files import PNG_SIGNATURE, png_chunk
from dimvida.data.images import to_picture
from dimvida.generation.formats import FORMATS
from dimvida.generation.formats.base import Picture, Sample, ShardWriter, json_text
from dimvida.generation.names import FileNames
from dimvida.generation.plan import GenerationPlan, Row, Shard
from dimvida.generation.settings import IMAGE_FORMATS, QUALITY, GenerationSettings
from dimvida.sampling.trajectory import sample_id

_NUMBERS = ("seed", "sample_id", "steps")  # whose null is -1 where there is none
_OF_ROW = object()  # in place of what differs from row to row
_COLOUR_TYPES = {1: 0, 3: 2}  # of PNG, by channels


class Packer:
    """Packs rows of batches; safe to use from many threads at once.

    Args:
        plan: The run's plan.
        settings: The run's settings: the form of the output and the kind of image among them.
        names: The names of the plan's rows.
        checkpoint: SHA-256 of the checkpoint.
        shape: [H, W, C] of every picture.

    Attributes:
        suffix: Suffix of image files, with the dot; empty for a form of arrays.
    """

    def __init__(
        self,
        plan: GenerationPlan,
        settings: GenerationSettings,
        names: FileNames,
        checkpoint: str,
        shape: tuple[int, int, int],
    ) -> None:
        self._plan, self._settings, self._names, self._checkpoint = plan, settings, names, checkpoint
        self._shape = shape
        self._views = plan.view_names
        self._labels = {name: label for label, name in enumerate(plan.source.classes)}
        self.suffix = IMAGE_FORMATS[settings.image_format] if settings.image_format else ""
        form = FORMATS[settings.format]
        self._every_view, self._null = form.every_view, "" if form.without_null else None
        self._encode = None if form.arrays else image_encoder(settings.image_format, settings.quality)
        self._lines = {
            (view, kind): self._line(view, kind) for view in self._views for kind in ("generated", "real", "")
        }

    def pack(self, rows: Sequence[Row], hashes: Sequence[dict[str, str]], pictures: np.ndarray) -> list[Sample]:
        """Pack some rows.

        Args:
            rows: The rows.
            hashes: Those of the known views' files, for each row.
            pictures: uint8 [N, H, W, C], what is written of each row, in the order of the views.
        """
        rest = iter(pictures)
        return [self._sample(row, known, rest) for row, known in zip(rows, hashes, strict=True)]

    def pictures_of(self, row: Row) -> int:
        """Number of pictures that are written of a row."""
        return len(row.task.targets) + (len(row.task.known) if self._settings.include_known else 0)

    def open(self, shard: Shard, folder: Path) -> ShardWriter:
        """The writer of a shard."""
        rows = range(shard.start, shard.stop)
        expected = self._plan.views_of(rows) + (self._plan.known_in(rows) if self._settings.include_known else 0)
        return FORMATS[self._settings.format](folder, shard.stem, self._shape, self.suffix, expected)

    def _sample(self, row: Row, hashes: dict[str, str], rest: Iterator[np.ndarray]) -> Sample:
        """One row, whose pictures come next."""
        task, record = row.task, row.task.record
        told = {
            "source": json_text(record.id),
            # Every view is named, so that all lines have the same fields whatever is known.
            "source_sha256": json_text({view: hashes.get(view, self._null) for view in self._views}),
            "label": json_text(record.class_name or self._null),
            "known": json_text(task.known),
            "sample_id": sample_id(record.id, row.draw),
            "draw": row.draw,
            "sha256": json_text(self._null),
        }
        unwritten = [(view, self._lines[view, ""] % told) for view in self._views if self._every_view]
        pictures = []
        for view in self._views:
            kind = "generated" if view in task.targets else "real" if view in task.known else ""
            if kind == "generated" or (kind and self._settings.include_known):
                pixels = next(rest)
                data = pixels if self._encode is None else self._encode(pixels)
                sha256 = hashlib.sha256(data).hexdigest()
                told["sha256"] = f'"{sha256}"'
                pictures.append(Picture(view, data, sha256, self._lines[view, kind] % told))
        label = self._labels.get(record.class_name)
        return Sample(self._names.key(task, row.draw), label, pictures, unwritten)

    def _line(self, view: str, kind: str) -> str:
        """What the metadata say about a view, with ``%(name)s`` for what differs from row to row."""
        settings, made = self._settings, kind == "generated"
        at = {} if self._plan.cameras is None else {"camera": asdict(self._plan.cameras[view])}
        fields = {
            "source": _OF_ROW,
            "source_sha256": _OF_ROW,
            "view": view,
            **at,
            "kind": kind,
            "label": _OF_ROW,
            "known": _OF_ROW,
            "seed": settings.seed if made else None,
            "sample_id": _OF_ROW if made else None,
            "draw": _OF_ROW,
            "checkpoint": self._checkpoint if made else None,
            "solver": settings.solver if made else None,
            "steps": settings.steps if made else None,
            "dtype": settings.dtype if made else None,
            "backend": settings.backend if made else None,
            "version": __version__,
            "sha256": _OF_ROW,
        }
        if self._null is not None:
            null = {name: -1 if name in _NUMBERS else self._null for name, value in fields.items() if value is None}
            fields |= null
        texts = {
            name: f"%({name})s" if value is _OF_ROW else json_text(value).replace("%", "%%")
            for name, value in fields.items()
        }
        return ", ".join(f'"{name}": {text}' for name, text in texts.items())


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
