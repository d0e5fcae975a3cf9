"""Completed views to samples: image files, or pixels, with what the metadata say about each of them.

Image files are the same bytes for the same pixels; PNGs are written by an encoder of our own, which is fast.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dimvida._version import __version__
from dimvida.data.image_files import run_length_png
from dimvida.data.images import to_picture
from dimvida.generation.formats import FORMATS
from dimvida.generation.formats.base import Picture, Sample, ShardWriter, json_text
from dimvida.generation.names import FileNames
from dimvida.generation.plan import GenerationPlan, Row, Shard
from dimvida.generation.settings import QUALITY, GenerationSettings
from dimvida.ops import has_png_files, png_files, sha256_rows
from dimvida.sampling.trajectory import sample_id

_NUMBERS = ("seed", "sample_id", "steps")  # whose null is -1 where there is none
_OF_ROW = object()  # in place of what differs from row to row


class RowForm(NamedTuple):
    """What the metadata say of rows that know and want the same views, with ``%(name)s`` for what differs.

    Attributes:
        known: The known views, as JSON.
        hashes: The hashes of their files, by view.
        written: View and line of each picture, in the model's order.
        unwritten: The same of the other views, where the form of the output speaks of them.
    """

    known: str
    hashes: str
    written: Sequence[tuple[str, str]]
    unwritten: Sequence[tuple[str, str]]


class Packer:
    """Packs rows of batches; safe to use from many threads at once.

    Args:
        plan: The run's plan.
        settings: The run's settings: the form of the output and the kind of image among them.
        names: The names of the plan's rows.
        checkpoint: SHA-256 of the checkpoint.
        shape: [H, W, C] of every picture.
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
        form = FORMATS[settings.format]
        self._every_view, self._null = form.every_view, "" if form.without_null else None
        self._encode = None if form.arrays else image_encoder(settings.image_format, settings.quality)
        self._null_text = json_text(self._null)
        self._classes = {name: json_text(name) for name in plan.source.classes} | {"": self._null_text}
        self._lines = {
            (view, kind): self._line(view, kind) for view in self._views for kind in ("generated", "real", "")
        }
        self._forms = {views: self._form(*views) for views in plan.tasks.kinds}

    def pack(self, rows: Sequence[Row], hashes: Sequence[dict[str, str]], pictures: np.ndarray) -> list[Sample]:
        """Pack some rows.

        Args:
            rows: N rows of the plan, all of which could be read.
            hashes: Those of the known views' files, for each row.
            pictures: uint8 [N, H, W, C], what is written of each row, in the order of the views.
        """
        rest = self._hashed(pictures)
        return [self._sample(row, known, rest) for row, known in zip(rows, hashes, strict=True)]

    def pictures_of(self, row: Row) -> int:
        """Number of pictures that are written of a row."""
        return len(row.task.targets) + (len(row.task.known) if self._settings.include_known else 0)

    def open(self, shard: Shard, folder: Path, configuration: Mapping[str, Any]) -> ShardWriter:
        """The writer of a shard of an output of this configuration."""
        rows = range(shard.start, shard.stop)
        expected = self._plan.views_of(rows) + (self._plan.known_in(rows) if self._settings.include_known else 0)
        return FORMATS[self._settings.format](folder, shard.stem, self._shape, configuration, expected)

    def _hashed(self, pictures: np.ndarray) -> Iterator[tuple[bytes | np.ndarray, str]]:
        """What is written of each picture, and its SHA-256."""
        if self._encode is None:
            return zip(pictures, sha256_rows(pictures), strict=True)
        return ((data, hashlib.sha256(data).hexdigest()) for data in self._encode(pictures))

    def _sample(self, row: Row, hashes: dict[str, str], rest: Iterator[tuple[bytes | np.ndarray, str]]) -> Sample:
        """One row, whose pictures come next."""
        task, record = row.task, row.task.record
        form = self._forms[task.known, task.targets]
        told = {
            "source": json_text(record.id),
            "source_sha256": form.hashes % hashes,
            "label": self._classes[record.class_name],
            "known": form.known,
            "sample_id": sample_id(record.id, row.draw),
            "draw": row.draw,
            "sha256": self._null_text,
        }
        unwritten = [(view, line % told) for view, line in form.unwritten]
        pictures = []
        for view, line in form.written:
            data, sha256 = next(rest)
            told["sha256"] = f'"{sha256}"'
            pictures.append(Picture(view, data, sha256, line % told))
        return Sample(self._names.key(task, row.draw), self._labels.get(record.class_name), pictures, unwritten)

    def _form(self, known: tuple[str, ...], targets: tuple[str, ...]) -> RowForm:
        """What rows have in common that know and want the same views."""
        kinds = dict.fromkeys(self._views, "")
        kinds |= dict.fromkeys(known, "real") if self._settings.include_known else {}
        kinds |= dict.fromkeys(targets, "generated")
        texts = {view: f'"%({view})s"' if view in known else self._null_text for view in self._views}
        return RowForm(
            known=json_text(known),
            # Every view is named, so that all lines have the same fields whatever is known.
            hashes="{" + ", ".join(f"{json_text(view)}: {text}" for view, text in texts.items()) + "}",
            written=[(view, self._lines[view, kind]) for view, kind in kinds.items() if kind],
            unwritten=[(view, self._lines[view, ""]) for view, kind in kinds.items() if self._every_view and not kind],
        )

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


def image_encoder(image_format: str, quality: int | None = None) -> Callable[[np.ndarray], Iterable[bytes]]:
    """A function from pictures uint8 [N, H, W, C], RGB or gray, to the bytes of their image files.

    Args:
        image_format: One of ``SUFFIX_OF_FORMAT`` (in ``formats.columns``).
        quality: 1 to 100, for JPEG and WebP; PNG has none.
    """
    if image_format == "png":
        return png_files if has_png_files() else partial(map, run_length_png)
    options: dict[str, Any] = {"format": image_format.upper(), "quality": QUALITY if quality is None else quality}
    if image_format == "jpeg":
        options["subsampling"] = 0  # at this size a halved chroma shows

    def encode(pixels: np.ndarray) -> bytes:
        buffer = io.BytesIO()
        to_picture(pixels).save(buffer, **options)
        return buffer.getvalue()

    return partial(map, encode)
