"""Samples with generated views as a ``torch.utils.data`` data set: made when asked for, or read from an output."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset

from dimvida.data.batch import load_batch
from dimvida.data.opening import open_source
from dimvida.data.source import MultiViewSource
from dimvida.errors import InputError, UnreadableImage
from dimvida.generation.plan import make_plan
from dimvida.generation.reading import read_given
from dimvida.sampling.multiview import MultiViewModel
from dimvida.sampling.noise import sample_id

Item = dict[str, Any]


class GeneratedViews(Dataset):
    """Objects of a source with their missing views generated, a whole batch ahead.

    Asking for one item makes the batch that it is in, and keeps it: iterating in order computes every batch once, and
    so does any order as long as ``keep`` batches hold everything. Views are the same whatever the order, as the noise
    belongs to the object. Items are dictionaries:

    - ``views``: uint8 [V, C, H, W], in the order of the model's views;
    - ``known``: bool [V], which of them were given;
    - ``label``: the class's place in ``classes``, -1 without one;
    - ``id``: the object's id.

    Use it without worker processes (``num_workers=0``), which would each load the model; they can read an output of
    ``dimvida generate`` instead (``StoredViews``).

    Args:
        model: Completes the views, on its own device.
        source: The objects.
        given: The views to start from; by default every one that an object has.
        batch: Objects at a time.
        keep: Batches that are kept, by default all: V * C * H * W bytes an object.
        sampling: ``steps``, ``solver``, ``seed``, ``backend`` and ``dtype`` of ``MultiViewModel.generate``.

    Raises:
        InputError: Nothing can be generated from the source.
    """

    def __init__(
        self,
        model: MultiViewModel,
        source: MultiViewSource,
        *,
        given: Sequence[str] | None = None,
        batch: int = 256,
        keep: int | None = None,
        **sampling: Any,
    ) -> None:
        self._plan = make_plan(source, model.view_names, given=given)
        self.classes = source.classes
        self._model, self._batch, self._keep, self._sampling = model, batch, keep, sampling
        self._labels = {name: label for label, name in enumerate(source.classes)}
        self._made: OrderedDict[int, list[Item]] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._plan)

    def __getitem__(self, index: int) -> Item:
        """One object.

        Raises:
            IndexError: There is no such object.
            UnreadableImage: One of its known views cannot be read.
        """
        index = _checked(index, len(self))
        with self._lock:
            number, place = divmod(index, self._batch)
            if number not in self._made:
                self._made[number] = self._make(range(index - place, min(index - place + self._batch, len(self))))
                while self._keep is not None and len(self._made) > max(1, self._keep):
                    self._made.popitem(last=False)
            self._made.move_to_end(number)
            item = self._made[number][place]
        if isinstance(item, UnreadableImage):
            raise UnreadableImage(item.location, item.reason)
        return dict(item)

    def _make(self, places: range) -> list[Any]:
        """Items of a batch; in place of one that cannot be read, why."""
        rows = [self._plan.row(place) for place in places]
        given = read_given(self._plan, rows, self._model.image_size, channels=self._model.channels)
        ids = torch.tensor([sample_id(row.task.record.id) for row in given.rows], dtype=torch.int64)
        views = given.views
        if given.rows:
            views = self._model.generate(views, given.known, sample_ids=ids, **self._sampling)
        made: dict[str, Any] = {file.source: UnreadableImage(file.file, file.reason) for file in given.skipped}
        for place, row in enumerate(given.rows):
            record = row.task.record
            label = self._labels.get(record.class_name, -1)
            made[record.id] = {"views": views[place], "known": given.known[place], "label": label, "id": record.id}
        return [made[row.task.record.id] for row in rows]


class StoredViews(Dataset):
    """Objects of an output of ``dimvida generate``, in any of its forms, or of any multi-view data.

    Items are as those of ``GeneratedViews``; ``known`` says which views are real. Views that were not written are 0
    and not known: generate with ``--include-known`` to have all of them. Any number of worker processes may read it.

    Args:
        path: The output folder.
        image_size: Edge in pixels; by default that of the first picture.
        channels: 3 for RGB, 1 for gray.
        view_names: The views of an item in order, by default those that occur.

    Raises:
        InputError: There is nothing that can be read.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        image_size: int | None = None,
        channels: int = 3,
        view_names: Sequence[str] | None = None,
    ) -> None:
        self._source = open_source(path)
        if not len(self._source):
            raise InputError(f"{path}: no objects")
        self.classes = self._source.classes
        self.view_names = tuple(view_names or self._source.view_names)
        first = self._source.records[0]
        self._channels = channels
        self._size = image_size or max(self._source.read_view(0, first.views[0]).pixels.shape[:2])

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> Item:
        """One object.

        Raises:
            IndexError: There is no such object.
            UnreadableImage: One of its views cannot be read.
        """
        index = _checked(index, len(self))
        batch, bad, _ = load_batch(
            self._source, [index], image_size=self._size, channels=self._channels, view_names=self.view_names
        )
        if bad:
            raise UnreadableImage(bad[0].location, bad[0].reason)
        record = self._source.records[index]
        real = [view in record.views and self._source.kind(index, view) == "real" for view in self.view_names]
        return {
            "views": batch.images[0],
            "known": torch.tensor(real),
            "label": int(batch.labels[0]),
            "id": record.id,
        }


def _checked(index: int, length: int) -> int:
    if not -length <= index < length:
        raise IndexError(f"object {index} of {length}")
    return index % length
