"""Samples with generated views as a ``torch.utils.data`` data set: made when asked for, or read from an output."""

from __future__ import annotations

import dataclasses
import os
import threading
import warnings
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from dimvida.data.batch import load_batch
from dimvida.data.opening import open_source
from dimvida.data.source import MultiViewSource
from dimvida.errors import InputError, UnreadableImage, require_whole
from dimvida.generation.inputs import open_input
from dimvida.generation.plan import make_plan
from dimvida.generation.read import ReadBatch, RowReader, view_mask
from dimvida.generation.tasks import Task
from dimvida.records import LARGEST_SIZE
from dimvida.results.schema import SkippedInput
from dimvida.sampling.multiview import MultiViewModel
from dimvida.sampling.trajectory import sample_id_tensor

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

    Threads may share one, and worker processes of a ``DataLoader`` take it however they start. But each of them makes
    the batches that it is asked for by itself, with a model of its own: what is fast is ``num_workers=0``, or to read
    an output of ``dimvida generate`` (``StoredViews``).

    Args:
        model: Completes the views, on its own device.
        source: The objects, or the path of a folder or zip file of them in any form that ``open_source`` reads.
        given: The views to start from; by default every one that an object has. A single one is also the view of
            images that do not name theirs.
        batch: Objects at a time.
        keep: Batches that are kept, by default all: V * C * H * W bytes an object.
        skip_bad: Leave out objects with a known view that cannot be read. All known views are read once for that, now;
            ``skipped`` lists the files, and a warning counts them. Otherwise asking for such an object is an error.
        sampling: ``steps``, ``solver``, ``seed``, ``backend`` and ``dtype`` of ``MultiViewModel.generate``.

    Attributes:
        classes: Names of the classes, in the order of the labels.
        view_names: Names of the views of an item, in order.
        skipped: With ``skip_bad``, the files that could not be read, with reasons.

    Raises:
        InputError: Nothing can be generated from the source, or an option is unknown or out of range.
        TypeError: For an option that there is not.

    Example:
        >>> import dimvida
        >>> from dimvida.generation.dataset import GeneratedViews
        >>> objects = GeneratedViews(dimvida.load("bundled"), "sample", given="front", batch=4, steps=2)
        >>> item = objects[0]
        >>> item["views"].shape, item["known"].tolist()
        (torch.Size([4, 3, 64, 64]), [True, False, False, False])
    """

    def __init__(
        self,
        model: MultiViewModel,
        source: MultiViewSource | str | Path,
        *,
        given: Sequence[str] | str | None = None,
        batch: int = 256,
        keep: int | None = None,
        skip_bad: bool = False,
        **sampling: Any,
    ) -> None:
        given = (given,) if isinstance(given, str) else given
        if not isinstance(source, MultiViewSource):
            source = open_input(source, model.view_names, given)
        batch = require_whole("batch", batch, 1, LARGEST_SIZE)
        keep = keep if keep is None else require_whole("keep", keep, 0, LARGEST_SIZE)
        self._plan = make_plan(source, model.view_names, given=given)
        self.classes, self.view_names = source.classes, model.view_names
        self._model, self._batch, self._keep, self._sampling = model, batch, keep, sampling
        self._labels = {name: label for label, name in enumerate(source.classes)}
        self._generate(self._read(range(0)))  # options may not fit
        self.skipped: tuple[SkippedInput, ...] = self._leave_out_unreadable() if skip_bad else ()
        self._start()

    def _start(self) -> None:
        """What belongs to one process."""
        self._made: OrderedDict[int, list[Item | UnreadableImage]] = OrderedDict()
        self._lock = threading.Lock()
        self._process = os.getpid()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("_made", "_lock", "_process")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._start()

    def __len__(self) -> int:
        return len(self._plan)

    def __getitem__(self, index: int) -> Item:
        """One object.

        Raises:
            IndexError: There is no such object.
            UnreadableImage: One of its known views cannot be read.
        """
        index = _checked(index, len(self))
        if self._process != os.getpid():
            self._start()  # forked, maybe while another thread held the lock
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
        # Tensors of its own: what a caller writes into an item must not be in the next one that is asked for.
        return {name: value.clone() if isinstance(value, Tensor) else value for name, value in item.items()}

    def _make(self, places: range) -> list[Item | UnreadableImage]:
        """Items of a batch; in place of one that cannot be read, why."""
        batch = self._read(places)
        known, views = self._generate(batch)
        made: dict[int, Item | UnreadableImage] = {}
        for place, row in enumerate(batch.rows):
            record = row.task.record
            made[row.task.index] = {
                "views": views[place],
                "known": known[place],
                "label": self._labels.get(record.class_name, -1),
                "id": record.id,
            }
        failures = {file.source: UnreadableImage(file.file, file.reason) for file in batch.skipped}
        tasks = [self._plan.row(place).task for place in places]
        return [made.get(task.index) or failures[task.record.id] for task in tasks]

    def _generate(self, batch: ReadBatch) -> tuple[Tensor, Tensor]:
        """Which views are known, bool [B, V], and all of them, uint8 [B, V, C, H, W]."""
        known = view_mask(self.view_names, [row.task.known for row in batch.rows])
        images = batch.images.permute(0, 3, 1, 2)
        views = torch.zeros(*known.shape, *images.shape[1:], dtype=torch.uint8, device="cpu")
        views[known] = images
        ids = sample_id_tensor(row.task.record.id for row in batch.rows)
        return known, self._model.generate(views, known, sample_ids=ids, **self._sampling)

    def _read(self, places: range) -> ReadBatch:
        return RowReader(self._plan, self._model.image_size, self._model.channels).read(places)

    def _leave_out_unreadable(self) -> tuple[SkippedInput, ...]:
        """Cut the plan down to the objects whose known views can be read; the files that cannot."""
        skipped: list[SkippedInput] = []
        readable: list[Task] = []
        for start in range(0, len(self._plan), self._batch):
            stop = min(start + self._batch, len(self._plan))
            batch = self._read(range(start, stop))
            readable += [row.task for row in batch.rows]
            skipped += batch.skipped
        if not skipped:
            return ()
        path, left_out = self._plan.source.path, len(self._plan) - len(readable)
        first = f"({skipped[0].file}: {skipped[0].reason})"
        if not readable:
            raise InputError(f"{path}: none of {left_out} objects can be read {first}")
        text = (
            f"{path}: left out {left_out} of {len(self._plan)} objects, whose files cannot be read; see skipped {first}"
        )
        warnings.warn(text, stacklevel=3)
        self._plan = dataclasses.replace(self._plan, tasks=self._plan.tasks.select(readable))
        return tuple(skipped)


class StoredViews(Dataset):
    """Objects of an output of ``dimvida generate``, in any of its forms, or of any multi-view data.

    Items are as those of ``GeneratedViews``; ``known`` says which views are real. Views that were not written are 0
    and not known: generate with ``--include-known`` to have all of them. Any number of worker processes may read it.

    Args:
        path: The output folder; "~" is the home folder.
        image_size: Edge in pixels; by default that of the first picture.
        channels: 3 for RGB, 1 for gray.
        view_names: The views of an item in order, by default those that occur.

    Raises:
        InputError: There is nothing that can be read.

    Example:
        >>> from dimvida.generation.dataset import StoredViews
        >>> objects = StoredViews("sample")
        >>> objects[0]["views"].shape, objects.view_names
        (torch.Size([4, 3, 64, 64]), ('front', 'right', 'back', 'left'))
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
