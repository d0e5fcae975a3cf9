"""One random view per object, which is all that a classification ever sees of the real ones."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from dimvida.data.batch import BadFile, load_all
from dimvida.data.source import MultiViewSource
from dimvida.errors import InputError
from dimvida.training.data import require_labels


@dataclass(frozen=True)
class SingleViews:
    """One view of each of N objects.

    Attributes:
        images: uint8 [N, C, H, W].
        views: int64 [N], which of the generator's views it is.
        labels: int64 [N].
        ids: The objects' ids.
        view_names: The generator's V views.
    """

    images: Tensor
    views: Tensor
    labels: Tensor
    ids: tuple[str, ...]
    view_names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.ids)

    def known(self) -> Tensor:
        """bool [N, V]: where the view of each object is."""
        return torch.nn.functional.one_hot(self.views, len(self.view_names)).bool()

    def rows(self, part: slice) -> SingleViews:
        """Some of the objects."""
        return SingleViews(self.images[part], self.views[part], self.labels[part], self.ids[part], self.view_names)

    @cached_property
    def digest(self) -> str:
        """Hex SHA-256 of everything."""
        digest = hashlib.sha256("\n".join((*self.ids, *self.view_names)).encode())
        for tensor in (self.views, self.labels, self.images):
            digest.update(memoryview(tensor.contiguous().numpy()))
        return digest.hexdigest()


def read_single_views(
    source: MultiViewSource,
    view_names: Sequence[str],
    image_size: int,
    *,
    channels: int = 3,
    seed: int = 0,
    limit: int | None = None,
    progress: Callable[[int], object] | None = None,
) -> tuple[SingleViews, list[BadFile], list[str]]:
    """Choose a view of each object at random and read it; the other views are never read.

    Which view it is depends on the object's id and the seed, not on the other objects.

    Args:
        source: Objects with classes.
        view_names: The generator's views.
        image_size: Edge in pixels; other sizes are resized.
        channels: 3 for RGB, 1 for gray.
        seed: Of the choice.
        limit: Only so many objects, spread evenly over the source.
        progress: Called with the number of objects read so far.

    Returns:
        The views; files that could not be read, whose objects are left out; how images were converted.

    Raises:
        InputError: The source has views that the generator does not know, objects without class, or nothing readable.
    """
    if limit is not None and limit < len(source):
        source = source.select(place * len(source) // limit for place in range(limit))
    chosen = [[_choose(record.id, record.views, seed)] for record in source.records]
    batch, bad, notes = load_all(
        source.with_views(chosen), image_size=image_size, channels=channels, view_names=view_names, progress=progress
    )
    require_labels(batch.labels, source.classes)
    rows = batch.known.any(1)
    if not rows.any():
        raise InputError(f"{bad[0].location}: {bad[0].reason}; no object could be read")
    views = batch.known[rows].int().argmax(1)
    ids = tuple(identity for identity, kept in zip(batch.ids, rows.tolist(), strict=True) if kept)
    images = batch.images[rows][torch.arange(len(ids)), views]
    return SingleViews(images, views, batch.labels[rows], ids, tuple(view_names)), bad, notes


def _choose(identity: str, views: Sequence[str], seed: int) -> str:
    # A hash instead of a generator: it does not depend on the other objects or on a library.
    digest = hashlib.blake2b(f"{seed}\0view\0{identity}".encode(), digest_size=8).digest()
    return views[int.from_bytes(digest, "little") % len(views)]
