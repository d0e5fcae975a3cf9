"""Many single views to generate from: those of a source, again and again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

from dimvida.data.source import MultiViewSource
from dimvida.errors import InputError

FORMS = ("files", "npy")
SHARD = 8192  # pictures of an array


@contextmanager
def repeated_inputs(source: MultiViewSource, view: str, count: int, form: str = "files") -> Iterator[Path]:
    """A temporary folder of ``count`` single views.

    Args:
        source: What is repeated.
        view: Its view that is taken.
        count: How many.
        form: ``files``: a PNG file each. ``npy``: array shards, which need no decoding and have few files.

    Raises:
        InputError: No object has that view.
    """
    indices = [index for index, record in enumerate(source.records) if view in record.views]
    if not indices:
        raise InputError(f"{source.path}: no object has a view {view!r}")
    with TemporaryDirectory(prefix="dimvida-bench-") as name:
        folder = Path(name)
        write = _write_files if form == "files" else _write_arrays
        write(folder, source, indices, view, count)
        yield folder


def _write_files(folder: Path, source: MultiViewSource, indices: Sequence[int], view: str, count: int) -> None:
    for place in range(count):
        index = indices[place % len(indices)]
        target = folder / _class_name(source, index) / f"{place:06d}__{view}.png"
        target.parent.mkdir(exist_ok=True)
        if place < len(indices):
            Image.fromarray(source.read_view(index, view).pixels).save(target)
        else:
            shutil.copyfile(target.with_name(f"{place % len(indices):06d}__{view}.png"), target)


def _write_arrays(folder: Path, source: MultiViewSource, indices: Sequence[int], view: str, count: int) -> None:
    """As ``dimvida generate --format npy`` has them, see ``dimvida.data.shards``."""
    pictures = np.stack([source.read_view(index, view).pixels for index in indices[:count]])
    names = [_class_name(source, index) for index in indices]
    for number, start in enumerate(range(0, count, SHARD)):
        places = np.arange(start, min(start + SHARD, count))
        np.save(folder / f"shard-{number:06d}.npy", pictures[places % len(pictures)])
        lines = []
        for place in places.tolist():
            label = names[place % len(pictures)]
            lines.append(json.dumps({"key": f"{label}/{place:06d}", "view": view, "label": label, "kind": "real"}))
        (folder / f"shard-{number:06d}.jsonl").write_text("".join(f"{line}\n" for line in lines))


def _class_name(source: MultiViewSource, index: int) -> str:
    return source.records[index].class_name or "object"
