"""Reads the known views of a plan's rows, a batch at a time, with what the output says about each file."""

from __future__ import annotations

import dataclasses
import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from dimvida.data.batch import load_batch
from dimvida.data.images import with_channels
from dimvida.data.source import MultiViewSource, ViewImage
from dimvida.errors import UnreadableImage
from dimvida.generation.plan import GenerationPlan, Row, Shard, Task

if TYPE_CHECKING:
    from dimvida.sampling.multiview import MultiViewModel

CHUNK = 64
"""Rows that are read at once: worth sending between processes, and little to hold."""

RECONSTRUCTED = 64
"""Objects of a run, about, whose images are reconstructed to see whether the model can show them."""

BACKGROUND = "the border is not the background of the training images, views may be wrong"
CLASS = "of a class that the model was not trained on, views may be of another object"
LIKENESS = "the model cannot show it as well as its training images, views may be of another object"


@dataclass(frozen=True, slots=True)
class UnreadableFile:
    """A file that could not be read; the object it belongs to is left out.

    Attributes:
        file: Its name within the input.
        reason: What is wrong with it.
        source: Id of the object.
    """

    file: str
    reason: str
    source: str


@dataclass(frozen=True, slots=True)
class ReadBatch:
    """The known views of those rows whose files could all be read.

    Attributes:
        rows: The rows, B of them.
        views: uint8 [B, V, C, H, W]; 0 where a view is not known.
        known: bool [B, V].
        hashes: For each row, view -> SHA-256 of the stored file.
        skipped: The files that could not be read.
        notes: What is unusual about images, as how they were converted: text -> files.
    """

    rows: tuple[Row, ...]
    views: Tensor
    known: Tensor
    hashes: tuple[dict[str, str], ...]
    skipped: tuple[UnreadableFile, ...]
    notes: dict[str, list[str]]


class RowReader:
    """Reads rows of a plan; goes to other processes as it is.

    Args:
        plan: What is completed.
        image_size: Edge in pixels.
        channels: 3 for RGB, 1 for gray.
        strict: Refuse images of another size instead of resizing them.
    """

    def __init__(self, plan: GenerationPlan, image_size: int, channels: int = 3, strict: bool = False) -> None:
        self.plan, self._image_size, self._channels, self._strict = plan, image_size, channels, strict

    def read(self, places: range) -> ReadBatch:
        """Read what some rows of the plan are generated from.

        An object with an unreadable known view is left out altogether: from fewer views than asked for, its
        pictures would be of another quality than the rest. Files are reported with the row of draw 0, once.

        Raises:
            InputError: An image has another size, and ``strict`` is set.
        """
        rows, inputs = [self.plan.row(place) for place in places], self.plan.source
        tasks = list({row.task.index: row.task for row in rows}.values())
        source = KnownViews(inputs, tasks, self._channels)
        batch, _, _ = load_batch(
            source,
            range(len(tasks)),
            image_size=self._image_size,
            channels=self._channels,
            view_names=self.plan.view_names,
            strict=self._strict,
        )
        broken = {index for index, _ in source.failures}
        order = {task.index: place for place, task in enumerate(tasks)}
        readable = tuple(row for row in rows if row.task.index not in broken)
        chosen = [order[row.task.index] for row in readable]
        reported = {row.task.index: row.task for row in rows if row.draw == 0}
        return ReadBatch(
            rows=readable,
            views=batch.images[chosen],
            known=batch.known[chosen],
            hashes=tuple({view: source.hashes[row.task.index, view] for view in row.task.known} for row in readable),
            skipped=tuple(
                UnreadableFile(file_within(inputs, index, view), reason, reported[index].record.id)
                for (index, view), reason in source.failures.items()
                if index in reported
            ),
            notes=_notes(inputs, source, self._image_size, set(reported) - broken),
        )


def read_batches(
    shards: Iterable[Shard], size: int, read: Callable[[Iterator[range]], Iterable[ReadBatch]]
) -> Iterator[tuple[Shard, range, ReadBatch]]:
    """Read shards in batches of ``size`` rows.

    Args:
        shards: What to read; asked for as far ahead as ``read`` asks for rows.
        size: Rows of a batch.
        read: Reads one chunk of rows after another.

    Yields:
        A shard, the rows of the plan in one of its batches, and what of them could be read.
    """
    begun: deque[tuple[Shard, range]] = deque()

    def chunks() -> Iterator[range]:
        for shard in shards:
            for rows in shard.batches(size):
                begun.append((shard, rows))
                yield from (rows[start : start + CHUNK] for start in range(0, len(rows), CHUNK))

    parts = iter(read(chunks()))
    for first in parts:
        shard, rows = begun.popleft()
        rest = itertools.islice(parts, (len(rows) - 1) // CHUNK)
        yield shard, rows, _joined([first, *rest])


def _joined(parts: list[ReadBatch]) -> ReadBatch:
    if len(parts) == 1:
        return parts[0]
    notes: dict[str, list[str]] = {}
    for part in parts:
        for text, files in part.notes.items():
            notes.setdefault(text, []).extend(files)
    return ReadBatch(
        rows=tuple(row for part in parts for row in part.rows),
        views=torch.cat([part.views for part in parts]),
        known=torch.cat([part.known for part in parts]),
        hashes=tuple(hashes for part in parts for hashes in part.hashes),
        skipped=tuple(file for part in parts for file in part.skipped),
        notes=notes,
    )


def file_within(source: MultiViewSource, index: int, view: str) -> str:
    """Name of a file of the source, relative to what was opened."""
    return source.location(index, view).removeprefix(str(source.path)).lstrip("/!")


class KnownViews(MultiViewSource):
    """The known views of some tasks and no others; remembers what became of each file.

    Attributes:
        hashes: (index in the whole source, view) -> SHA-256 of a file that was read.
        remarks: How such an image differs from its file: its size, and a note of the decoder or None.
        failures: Why a file could not be read.
    """

    def __init__(self, source: MultiViewSource, tasks: Sequence[Task], channels: int) -> None:
        views = {view for task in tasks for view in task.known}
        super().__init__(
            source.path,
            source.form,
            [view for view in source.view_names if view in views],
            source.classes,
            [dataclasses.replace(task.record, views=task.known) for task in tasks],
            [tuple((task.index, view) for view in task.known) for task in tasks],
        )
        self._source, self._channels = source, channels
        self.hashes: dict[tuple[int, str], str] = {}
        self.remarks: dict[tuple[int, str], tuple[tuple[int, int], str | None]] = {}
        self.failures: dict[tuple[int, str], str] = {}

    def _read(self, file: tuple[int, str]) -> ViewImage:
        try:
            image = with_channels(self._source.read_view(*file), self._channels)
        except UnreadableImage as error:
            self.failures[file] = error.reason
            raise
        self.hashes[file] = image.sha256
        self.remarks[file] = image.pixels.shape[:2], image.note
        return image

    def _locate(self, file: tuple[int, str]) -> str:
        return self._source.location(*file)


def _notes(source: MultiViewSource, read: KnownViews, image_size: int, indices: set[int]) -> dict[str, list[str]]:
    notes: dict[str, list[str]] = {}
    for (index, view), (shape, note) in read.remarks.items():
        if index not in indices:
            continue
        resized = None if shape == (image_size, image_size) else f"resized to {image_size} x {image_size}"
        for text in filter(None, (note, resized)):
            notes.setdefault(text, []).append(file_within(source, index, view))
    return notes


class FamiliarityCheck:
    """Adds to a batch's notes those on images that the model was not trained for: it makes of them what it knows.

    Which images they are depends on the plan and the images alone.

    Args:
        model: Knows its classes, and perhaps what its training images look like.
        plan: What is completed.
    """

    def __init__(self, model: MultiViewModel, plan: GenerationPlan) -> None:
        self._model, self._plan = model, plan
        self._stride = max(1, len(plan.tasks) // RECONSTRUCTED)
        self.likeness = LIKENESS + (f" (1 in {self._stride} looked at)" if self._stride > 1 else "")

    def __call__(self, batch: ReadBatch) -> None:
        """Look at the known views of a batch, each object once."""
        model, inputs = self._model, self._model.config.inputs
        rows = [place for place, row in enumerate(batch.rows) if row.draw == 0]
        shown = [(place, view) for place in rows for view in batch.rows[place].task.known]
        if not shown:
            return
        classes = set(model.classes)
        for place, view in shown:
            name = batch.rows[place].task.record.class_name
            if classes and name and name not in classes:
                self._add(batch, CLASS, place, view)
        if inputs is None:
            return
        views = [self._plan.view_names.index(view) for _, view in shown]
        images = batch.views[[place for place, _ in shown], views]
        for (place, view), foreign in zip(shown, inputs.foreign_border(images).tolist(), strict=True):
            if foreign:
                self._add(batch, BACKGROUND, place, view)
        chosen = [n for n, (place, _) in enumerate(shown) if batch.rows[place].task.index % self._stride == 0]
        if chosen:
            reconstructed = model.decode(model.encode(images[chosen]))
            bad = inputs.badly_reconstructed(images[chosen], reconstructed).tolist()
            for number in [n for n, failed in zip(chosen, bad, strict=True) if failed]:
                self._add(batch, self.likeness, *shown[number])

    def _add(self, batch: ReadBatch, text: str, place: int, view: str) -> None:
        file = file_within(self._plan.source, batch.rows[place].task.index, view)
        batch.notes.setdefault(text, []).append(file)
