"""Reads the known views of a plan's rows, a batch at a time, with what the output says about each file."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from dimvida.data.images import resize_image, with_channels
from dimvida.data.source import MultiViewSource
from dimvida.errors import InputError, UnreadableImage
from dimvida.generation.plan import GenerationPlan, Row, Shard
from dimvida.generation.tasks import Task
from dimvida.results.schema import SkippedInput
from dimvida.sampling.memory import host_memory

if TYPE_CHECKING:
    from dimvida.sampling.multiview import MultiViewModel

CHUNK_ROWS = 64
"""Rows that are read at once: worth sending between processes, and little to hold."""

OBJECTS_RECONSTRUCTED = 64
"""Objects of a run, about, whose images are reconstructed to see whether the model can show them."""

BACKGROUND_NOTE = "the border is not the background of the training images, views may be wrong"
CLASS_NOTE = "of a class that the model was not trained on, views may be of another object"
LIKENESS_NOTE = "the model cannot show it as well as its training images, views may be of another object"


@dataclass(frozen=True, slots=True)
class ReadBatch:
    """The known views of those rows whose files could all be read.

    Attributes:
        rows: The rows, B of them.
        images: uint8 [N, H, W, C], the known views row after row, each row's in the order of the model.
        hashes: For each row, view -> SHA-256 of the stored file.
        skipped: The files that could not be read, each with the id of its object, which is left out.
        notes: What is unusual about images, as how they were converted: text -> files.
    """

    rows: tuple[Row, ...]
    images: Tensor
    hashes: tuple[dict[str, str], ...]
    skipped: tuple[SkippedInput, ...]
    notes: dict[str, list[str]]


def view_mask(names: Sequence[str], views: Iterable[Sequence[str]]) -> Tensor:
    """bool [B, V] on the host: which of the model's V views are among those of each row."""
    lines: dict[Sequence[str], list[bool]] = {}
    mask = [lines.get(some) or lines.setdefault(some, [name in some for name in names]) for some in views]
    return torch.tensor(mask, dtype=torch.bool, device="cpu").view(-1, len(names))


class RowReader:
    """Reads rows of a plan; goes to other processes as it is.

    Args:
        plan: The plan whose rows are read.
        image_size: Edge in pixels.
        channels: 3 for RGB, 1 for gray.
        strict: Refuse images of another size instead of resizing them.
    """

    def __init__(self, plan: GenerationPlan, image_size: int, channels: int = 3, strict: bool = False) -> None:
        self.plan, self._strict = plan, strict
        self.shape = (image_size, image_size, channels)

    def read(self, places: range, room: Tensor | None = None) -> ReadBatch:
        """Read what some rows of the plan are generated from.

        An object with an unreadable known view is left out altogether: from fewer views than asked for, its
        pictures would be of another quality than the rest. Files are reported with the row of draw 0, once.

        Args:
            places: Numbers of the rows in the plan, one after the other.
            room: Where the images go, uint8 [n, H, W, C] on the host with n at least ``plan.known_in(places)``.

        Raises:
            InputError: An image has another size, and ``strict`` is set.
        """
        if room is None:
            room = torch.empty(self.plan.known_in(places), *self.shape, dtype=torch.uint8, device="cpu")
        pixels, filled = room.numpy(), 0
        rows, hashes, skipped = [], [], []
        notes: dict[str, list[str]] = {}
        task, read = None, None
        for row in map(self.plan.row, places):
            into = pixels[filled : filled + len(row.task.known)]
            if task is None or row.task.index != task.index:  # the first draw of it here
                task, read = row.task, _Object(self.plan.source, row.task)
                read.read(into, self._strict)
                if row.draw == 0:
                    skipped += read.failures
            elif not read.failures:
                into[:] = pixels[filled - len(into) : filled]
            if read.failures:
                continue
            filled += len(into)
            rows.append(row)
            hashes.append(read.hashes)
            if row.draw == 0:
                for text, file in read.remarks:
                    notes.setdefault(text, []).append(file)
        return ReadBatch(tuple(rows), room[:filled], tuple(hashes), tuple(skipped), notes)


class _Object:
    """The known views of one object, once they are read.

    Attributes:
        hashes: View -> SHA-256 of the stored file.
        remarks: How images differ from their files: text, file.
        failures: The files that could not be read.
    """

    def __init__(self, source: MultiViewSource, task: Task) -> None:
        self._source, self._task = source, task
        self.hashes: dict[str, str] = {}
        self.remarks: list[tuple[str, str]] = []
        self.failures: list[SkippedInput] = []

    def read(self, into: np.ndarray, strict: bool) -> None:
        """Read all of them, in their order, into uint8 [n, H, W, C]."""
        index, size = self._task.index, into.shape[1]
        for view, pixels in zip(self._task.known, into, strict=True):
            try:
                image = with_channels(self._source.read_view(index, view), into.shape[3])
            except UnreadableImage as error:
                file = file_within(self._source, index, view)
                self.failures.append(SkippedInput(file, error.reason, self._task.record.id))
                continue
            self.hashes[view] = image.sha256
            if image.note is not None:
                self.remarks.append((image.note, file_within(self._source, index, view)))
            height, width = image.pixels.shape[:2]
            if (height, width) != (size, size):
                if strict:
                    raise InputError(
                        f"{self._source.location(index, view)}: {width} x {height} pixels instead of {size} x {size}; "
                        "resize it, or leave out --strict to have it resized"
                    )
                self.remarks.append((f"resized to {size} x {size}", file_within(self._source, index, view)))
            pixels[:] = resize_image(image.pixels, size)


Chunk = tuple[range, Tensor]
"""Rows of the plan, and the room for their images."""


def read_batches(
    shards: Iterable[Shard],
    size: int,
    reader: RowReader,
    read: Callable[[Iterator[Chunk]], Iterable[ReadBatch]],
    pinned: bool = False,
) -> Iterator[tuple[Shard, range, ReadBatch]]:
    """Read shards in batches of ``size`` rows, the images of each into memory of its own.

    Args:
        shards: What to read; asked for as far ahead as ``read`` asks for chunks.
        size: Rows of a batch.
        reader: Knows the plan, and how large images are.
        read: Reads one chunk after another, each into its room.
        pinned: Whether a GPU copies from that memory.

    Yields:
        A shard, the rows of the plan in one of its batches, and what of them could be read.
    """
    begun: deque[tuple[Shard, range, Tensor]] = deque()

    def chunks() -> Iterator[Chunk]:
        for shard in shards:
            for rows in shard.batches(size):
                room = host_memory(reader.plan.known_in(rows), *reader.shape, pinned=pinned)
                begun.append((shard, rows, room))
                filled = 0
                for start in range(0, len(rows), CHUNK_ROWS):
                    chunk = rows[start : start + CHUNK_ROWS]
                    count = reader.plan.known_in(chunk)
                    yield chunk, room[filled : filled + count]
                    filled += count

    parts = iter(read(chunks()))
    for first in parts:
        shard, rows, room = begun.popleft()
        yield shard, rows, _joined([first, *itertools.islice(parts, (len(rows) - 1) // CHUNK_ROWS)], room)


def _joined(parts: list[ReadBatch], room: Tensor) -> ReadBatch:
    """One batch of its chunks, whose images fill the room unless files could not be read."""
    notes: dict[str, list[str]] = {}
    for part in parts:
        for text, files in part.notes.items():
            notes.setdefault(text, []).extend(files)
    pixels, filled = room.numpy(), 0
    for part in parts:
        if len(part.images) and part.images.data_ptr() != room[filled:].data_ptr():
            pixels[filled : filled + len(part.images)] = part.images.numpy()
        filled += len(part.images)
    return ReadBatch(
        rows=tuple(row for part in parts for row in part.rows),
        images=room[:filled],
        hashes=tuple(hashes for part in parts for hashes in part.hashes),
        skipped=tuple(file for part in parts for file in part.skipped),
        notes=notes,
    )


def file_within(source: MultiViewSource, index: int, view: str) -> str:
    """Name of a file of the source, relative to what was opened."""
    return source.location(index, view).removeprefix(str(source.path)).lstrip("/!")


class FamiliarityCheck:
    """Adds to a batch's notes those on images that the model was not trained for: it makes of them what it knows.

    Which images they are depends on the plan and the images alone.

    Args:
        model: Knows its classes, and perhaps what its training images look like.
        plan: The plan whose rows the batches are of.
    """

    def __init__(self, model: MultiViewModel, plan: GenerationPlan) -> None:
        self._model, self._plan = model, plan
        self._stride = max(1, len(plan.tasks) // OBJECTS_RECONSTRUCTED)
        self.likeness = LIKENESS_NOTE + (f" (1 in {self._stride} looked at)" if self._stride > 1 else "")

    def __call__(self, batch: ReadBatch) -> None:
        """Look at the known views of a batch, each object once."""
        model, inputs = self._model, self._model.config.inputs
        known = [(row, view) for row in batch.rows for view in row.task.known]
        shown = [(place, row.task, view) for place, (row, view) in enumerate(known) if row.draw == 0]
        if not shown:
            return
        classes = set(model.classes)
        for _, task, view in shown:
            if classes and task.record.class_name and task.record.class_name not in classes:
                self._add(batch, CLASS_NOTE, task, view)
        if inputs is None:
            return
        images = batch.images.permute(0, 3, 1, 2)
        if len(shown) < len(known):
            images = images[[place for place, _, _ in shown]]
        for (_, task, view), foreign in zip(shown, inputs.foreign_border(images).tolist(), strict=True):
            if foreign:
                self._add(batch, BACKGROUND_NOTE, task, view)
        chosen = [number for number, (_, task, _) in enumerate(shown) if task.index % self._stride == 0]
        if chosen:
            reconstructed = model.decode(model.encode(images[chosen]))
            bad = inputs.badly_reconstructed(images[chosen], reconstructed).tolist()
            for number in [number for number, failed in zip(chosen, bad, strict=True) if failed]:
                self._add(batch, self.likeness, *shown[number][1:])

    def _add(self, batch: ReadBatch, text: str, task: Task, view: str) -> None:
        batch.notes.setdefault(text, []).append(file_within(self._plan.source, task.index, view))
