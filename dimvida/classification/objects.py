"""Which objects train the generator (d), train classifiers (c) and test them (e); the one view known of each, and
the pictures that classifiers learn from.

Nothing leaks between the three: no object is in two of them, and none of c and e was seen by the generator.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dimvida.classification.design import Recipe
from dimvida.data.batch import BadFile, load_all
from dimvida.data.columns import Columns
from dimvida.data.names import check_split, counted
from dimvida.data.opening import open_source
from dimvida.data.partitions import Partitions, load_partitions, make_partitions, of_classes, select_partition
from dimvida.data.source import MultiViewSource, spread
from dimvida.errors import InputError
from dimvida.training.data import LabelledImages, require_labels


@dataclass(frozen=True, slots=True)
class Roles:
    """The three sets of objects; no object is in two of them.

    Attributes:
        d: Objects that all views may be seen of, or None where the data have none.
        c: Objects that classifiers are trained on.
        e: Objects that classifiers are tested on.
        notes: What was left out or could not be checked, a line each.
    """

    d: MultiViewSource | None
    c: MultiViewSource
    e: MultiViewSource
    notes: tuple[str, ...] = ()


def assign_roles(
    path: Path,
    provenance: Mapping[str, Any],
    *,
    partition: Path | None = None,
    split: str | None = None,
    columns: Columns | None = None,
    nmr_views: Sequence[int] | None = None,
    classes: Sequence[str] | None = None,
    c_share: float = 0.5,
    seed: int = 0,
) -> Roles:
    """Find c and e among objects that the generator has not seen.

    Args:
        path: The data set, see ``open_source``.
        provenance: What the generator's checkpoint says of its training.
        partition: A partition file, whose d, c and e are taken. Without, c and e are made of one split.
        split: That split; by default that for testing if there is one, else all objects.
        columns, nmr_views: Which columns of tables, and which NMR views are read; see ``open_source``.
        classes: Keep the objects of these only; c and e are those of the whole set.
        c_share: Share of c in it, in every class; the rest is e.
        seed: Seed of that choice.

    Raises:
        InputError: The generator was trained on objects of c or e, or one of the two is empty.
    """
    source = open_source(path, columns=columns, nmr_views=nmr_views)
    if partition is not None:
        if split is not None:
            raise InputError("--split and --partition: give one of them; a partition names its objects itself")
        partitions = load_partitions(partition)
        d, c, e = (select_partition(source, partitions, part) for part in ("d", "c", "e"))
    else:
        partitions = None
        d, c, e = _of_splits(source, split, c_share, seed)
    c, e = of_classes(c, classes), of_classes(e, classes)
    d = of_classes(d, classes) if d else d
    for name, part in (("c", c), ("e", e)):
        if not len(part):
            raise InputError(f"{partition or path}: no objects for part {name}; classifiers need both c and e")
    if partition is None and split is None and source.splits and source.split_for("test") is None:
        notes = (f"none of the splits is called test or testing: c and e are of all ({', '.join(source.splits)})",)
    else:
        notes = ()
    names = {record.id for part in (c, e) for record in part.records}
    _require_disjoint(d, c, e)
    notes = (*source.notes, *notes, *_require_unseen(path, source, provenance, names, partitions))
    return Roles(d if d is not None and len(d) else None, c, e, notes)


@dataclass(frozen=True)
class SingleViews:
    """One view of each of N objects.

    Attributes:
        images: uint8 [N, C, H, W].
        views: int64 [N], which of the generator's views it is.
        labels: Numbers of the objects' classes, int64 [N].
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
        seed: Seed of the choice.
        limit: Only so many objects, spread evenly over the source.
        progress: Called with the number of objects read so far.

    Returns:
        The views; files that could not be read, whose objects are left out; how images were converted.

    Raises:
        InputError: The source has views that the generator does not know, objects without class, or nothing readable.
    """
    if limit is not None:
        source = source.select(spread(range(len(source)), limit))
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


def training_set(recipe: Recipe, c: SingleViews, draws: list[Tensor], classes: tuple[str, ...]) -> LabelledImages:
    """The pictures of a recipe: the views of c and, for ca, those generated from them.

    Args:
        recipe: What a classifier is trained on: real views, or generated ones with them.
        c: The real views.
        draws: All views of c, completed, uint8 [N, V, C, H, W] each; ``recipe.draws`` of them for ca, else none.
        classes: Names of the labels.
    """
    images, labels = [c.images], [c.labels]
    missing = ~c.known()
    for views in draws if recipe.augmented else []:
        images.append(views[missing])
        labels.append(c.labels[:, None].expand_as(missing)[missing])
    nothing = c.images[:0], c.labels[:0]
    description = {"part": recipe.train, "objects": len(c), "samples_per_view": recipe.draws if recipe.augmented else 0}
    return LabelledImages(torch.cat(images), torch.cat(labels), classes, *nothing, description)


def _choose(identity: str, views: Sequence[str], seed: int) -> str:
    # A hash instead of a generator: it does not depend on the other objects or on a library.
    digest = hashlib.blake2b(f"{seed}\0view\0{identity}".encode(), digest_size=8).digest()
    return views[int.from_bytes(digest, "little") % len(views)]


def _of_splits(
    source: MultiViewSource, split: str | None, c_share: float, seed: int
) -> tuple[MultiViewSource | None, MultiViewSource, MultiViewSource]:
    if not 0 < c_share < 1:
        raise InputError(f"--c-share {c_share:g}: must be between 0 and 1")
    if split is None:
        split = source.split_for("test")
    else:
        check_split(source.path, split, source.splits)
    training = source.split_for("train")
    chosen = [record for record in source.records if split is None or record.split == split]
    parts = make_partitions(chosen, (0.0, c_share, 1 - c_share), seed)
    d = None if split is None or training in (None, split) else source.of_split(training)
    return d, _select(source, parts.c), _select(source, parts.e)


def _select(source: MultiViewSource, ids: Collection[str]) -> MultiViewSource:
    wanted = set(ids)
    return source.select(index for index, record in enumerate(source.records) if record.id in wanted)


def _require_disjoint(*parts: MultiViewSource | None) -> None:
    seen: set[str] = set()
    for part in parts:
        ids = {record.id for record in part.records} if part is not None else set()
        if seen & ids:
            raise InputError(f"object {min(seen & ids)} is in two of the parts d, c and e; make the partition again")
        seen |= ids


def _require_unseen(
    path: Path,
    source: MultiViewSource,
    provenance: Mapping[str, Any],
    chosen: set[str],
    partitions: Partitions | None,
) -> tuple[str, ...]:
    """Refuse objects that the generator was trained on, as far as its provenance tells; notes where it does not."""
    notes, others = [], []
    for trained in _trained_on(provenance):
        if trained.get("name") != path.name:
            others.append(str(trained.get("name") or "data it does not name"))
        elif trained.get("partition"):
            notes += _require_same_partition(trained, partitions)
        else:
            _require_other_split(path, source, trained, chosen)
    if others:
        notes.append(
            f"the generator was trained on {' and '.join(dict.fromkeys(others))}; that it has seen none of the objects "
            "of c and e there is yours to know"
        )
    return tuple(notes)


def _trained_on(provenance: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """What a checkpoint says of its data, and what the one says that it was started from, and so on."""
    step: Any = provenance
    while isinstance(step, Mapping):
        data = step.get("data")
        yield data if isinstance(data, Mapping) else {}
        step = step.get("init")


def _require_other_split(path: Path, source: MultiViewSource, trained: Mapping[str, Any], chosen: set[str]) -> None:
    seen = {record.id for record in source.records if trained.get("split") in (None, record.split)}
    if seen & chosen:
        what = f"the split {trained['split']!r}" if trained.get("split") else "all objects"
        raise InputError(
            f"the generator was trained on {what} of {path.name}, with {counted(len(seen & chosen), 'object')} of c "
            f"and e (such as {min(seen & chosen)}); choose others by --split, or train it on part d of a --partition"
        )


def _require_same_partition(trained: Mapping[str, Any], partitions: Partitions | None) -> tuple[str, ...]:
    if partitions is None:
        raise InputError(
            f"the generator was trained on part d of {trained['partition']} of this data; give that --partition"
        )
    digest = trained.get("partition_sha256")
    if digest is None:
        return (f"the generator was trained on part d of a {trained['partition']}, taken to be this one",)
    if digest != partitions.digest():
        raise InputError(
            f"the generator was trained on part d of another partition of this data ({trained['partition']}), which "
            "may hold objects of c and e; give that --partition"
        )
    return ()
