"""The multi-view batch, and how objects of a source become one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from dimvida.data.images import CHANNELS, resize_image, with_channels
from dimvida.data.names import input_lines
from dimvida.data.source import BadFile, MultiViewSource, ViewImage
from dimvida.errors import DimvidaError, InputError, UnreadableImage


@dataclass(frozen=True)
class MultiViewBatch:
    """Images of B objects from the same V views.

    Attributes:
        images: uint8 ``[B, V, C, H, W]``, gray (C = 1) or RGB (C = 3); 0 where a view is absent.
        known: bool ``[B, V]``, False where a view is absent.
        labels: int64 ``[B]``, -1 if unlabeled.
        ids: The objects' ids, B of them.
        view_names: V different names.

    Raises:
        ValueError: Types or shapes do not fit together.
    """

    images: torch.Tensor
    known: torch.Tensor
    labels: torch.Tensor
    ids: tuple[str, ...]
    view_names: tuple[str, ...]

    def __post_init__(self) -> None:
        shape = tuple(self.images.shape)
        if self.images.dtype != torch.uint8 or len(shape) != 5 or shape[2] not in CHANNELS:
            raise ValueError(f"images are {self.images.dtype} {list(shape)}, not uint8 [B, V, 1 or 3, H, W]")
        if self.known.dtype != torch.bool or tuple(self.known.shape) != shape[:2]:
            raise ValueError(f"known is {self.known.dtype} {list(self.known.shape)}, not bool {list(shape[:2])}")
        if self.labels.dtype != torch.int64 or tuple(self.labels.shape) != shape[:1]:
            raise ValueError(f"labels are {self.labels.dtype} {list(self.labels.shape)}, not int64 [{shape[0]}]")
        if len(self.ids) != shape[0]:
            raise ValueError(f"{len(self.ids)} ids for {shape[0]} objects")
        if len(self.view_names) != shape[1] or len(set(self.view_names)) != shape[1]:
            raise ValueError(f"view names {self.view_names} for {shape[1]} views")

    def __len__(self) -> int:
        return len(self.ids)

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> MultiViewBatch:
        """The same batch with its tensors on ``device``."""
        return replace(
            self,
            images=self.images.to(device, non_blocking=non_blocking),
            known=self.known.to(device, non_blocking=non_blocking),
            labels=self.labels.to(device, non_blocking=non_blocking),
        )


Loaded = tuple[MultiViewBatch, list[BadFile], list[str]]


def load_batch(
    source: MultiViewSource,
    indices: Sequence[int],
    *,
    image_size: int,
    channels: int = 3,
    view_names: Sequence[str] | None = None,
    classes: Sequence[str] | None = None,
    strict: bool = False,
    workers: int = 0,
    progress: Callable[[int], object] | None = None,
) -> Loaded:
    """Read objects into one batch.

    Args:
        source: The data set to read from.
        indices: Which objects; row b of the batch is ``source.records[indices[b]]``.
        image_size: Edge in pixels. Other sizes are padded to a square and resized, with a note.
        channels: 3 for RGB, 1 for gray; colours are converted with a note.
        view_names: The views of the batch in order; by default the source's. Views that an object
            lacks are absent (``known`` False).
        classes: Label c is ``classes[c]``; by default the source's.
        strict: Refuse images of another size instead of resizing them.
        workers: Processes that decode; 0 decodes in this one. (Threads would not help: decoding a
            small image holds the interpreter's lock.)
        progress: Called with the number of objects read so far, from time to time and at the end.

    Returns:
        The batch; the files that could not be read, whose views are absent; and how images were
        converted, one line for each kind of conversion.

    Raises:
        InputError: A view or class of the source is not among ``view_names`` or ``classes``, or an image
            has another size and ``strict`` is set.
    """
    view_names = tuple(source.view_names if view_names is None else view_names)
    for view in source.view_names:
        if view not in view_names:
            raise InputError(f"{source.path}: view {view!r} is not one of {', '.join(view_names)}")
    labels = _labels(source, indices, tuple(source.classes if classes is None else classes))

    reader = _Reader(source, (channels, image_size, image_size), view_names, strict)
    images = np.zeros((len(indices), *reader.row_shape), np.uint8)
    known = np.zeros((len(indices), len(view_names)), np.bool_)
    bad: list[BadFile] = []
    notes: dict[str, tuple[int, str]] = {}
    done = 0
    for chunk in _read_chunks(reader, indices, workers):
        rows = slice(done, done + len(chunk.images))
        images[rows], known[rows] = chunk.images, chunk.known
        bad += chunk.bad
        for location, text in chunk.notes:
            count, first = notes.get(text, (0, location))
            notes[text] = count + 1, first
        done = rows.stop
        if progress is not None:
            progress(done)
    ids = tuple(source.records[index].id for index in indices)
    batch = MultiViewBatch(torch.from_numpy(images), torch.from_numpy(known), labels, ids, view_names)
    return batch, bad, input_lines(notes, {})


def load_all(source: MultiViewSource, **options: Any) -> Loaded:
    """Read a whole source into one batch in memory; options are those of :func:`load_batch`.

    An object takes ``V * channels * image_size**2`` bytes: 48 KiB for four views of 64 pixels.
    """
    return load_batch(source, range(len(source)), **options)


@dataclass
class _Chunk:
    images: np.ndarray  # uint8 [n, V, C, S, S]
    known: np.ndarray  # bool [n, V]
    bad: list[BadFile]
    notes: list[tuple[str, str]]  # (location, note)


class _Reader(Dataset):
    """Reads chunks of rows, in this process or as the data set of a DataLoader's workers."""

    def __init__(
        self, source: MultiViewSource, shape: tuple[int, int, int], view_names: tuple[str, ...], strict: bool
    ) -> None:
        self.row_shape = (len(view_names), *shape)
        self._source, self._view_names, self._strict = source, view_names, strict
        self._channels, self._size, _ = shape

    def read(self, indices: Sequence[int]) -> _Chunk:
        images = np.zeros((len(indices), *self.row_shape), np.uint8)
        chunk = _Chunk(images, np.zeros(images.shape[:2], np.bool_), [], [])
        for row, index in enumerate(indices):
            for view in self._source.records[index].views:
                place = self._view_names.index(view)
                try:
                    image = self._source.read_view(index, view)
                except UnreadableImage as error:
                    chunk.bad.append(BadFile(error.location, error.reason))
                    continue
                pixels = self._fit(image, index, view, chunk)
                images[row, place] = pixels.transpose(2, 0, 1)
                chunk.known[row, place] = True
        return chunk

    def __getitem__(self, indices: Sequence[int]) -> _Chunk | InputError:
        # An error is handed over as a value: a DataLoader would wrap it into another one's text.
        try:
            return self.read(indices)
        except InputError as error:
            return InputError(str(error))

    def _fit(self, image: ViewImage, index: int, view: str, chunk: _Chunk) -> np.ndarray:
        image = with_channels(image, self._channels)
        if image.note is not None:
            chunk.notes.append((self._source.location(index, view), image.note))
        height, width = image.pixels.shape[:2]
        if height == width == self._size:
            return image.pixels
        location = self._source.location(index, view)
        if self._strict:
            raise InputError(
                f"{location}: {width} x {height} pixels instead of {self._size} x {self._size}; "
                "resize it, or leave out --strict to have it resized"
            )
        how = "padded to a square and resized" if height != width else "resized"
        chunk.notes.append((location, f"{how} to {self._size} x {self._size}"))
        return resize_image(image.pixels, self._size)


def _read_chunks(reader: _Reader, indices: Sequence[int], workers: int) -> Iterator[_Chunk]:
    # Large enough to be worth sending between processes, small enough to keep progress moving.
    size = max(1, min(64, 2**24 // int(np.prod(reader.row_shape))))
    chunks = [indices[start : start + size] for start in range(0, len(indices), size)]
    if workers == 0:
        yield from map(reader.read, chunks)
        return
    loader = DataLoader(reader, sampler=chunks, batch_size=None, num_workers=workers, collate_fn=_as_is)
    try:
        for chunk in loader:
            if isinstance(chunk, InputError):
                raise chunk
            yield chunk
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise DimvidaError("a reading process died, perhaps of memory: try fewer --workers") from error


def _as_is(chunk: _Chunk | InputError) -> _Chunk | InputError:
    # The default would turn arrays into tensors, which travel through shared memory; containers often
    # have too little of it.
    return chunk


def _labels(source: MultiViewSource, indices: Sequence[int], classes: tuple[str, ...]) -> torch.Tensor:
    numbers = {name: label for label, name in enumerate(classes)} | {"": -1}
    labels = []
    for index in indices:
        record = source.records[index]
        if record.class_name not in numbers:
            raise InputError(
                f"{source.path}: class {record.class_name!r} of object {record.id} is not one of {', '.join(classes)}"
            )
        labels.append(numbers[record.class_name])
    return torch.tensor(labels, dtype=torch.int64)
