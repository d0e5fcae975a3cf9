"""What is trained on, some objects of it held out: objects with the views that they have, or pictures with labels."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dimvida.data.batch import BadFile, MultiViewBatch
from dimvida.data.cameras import Camera, angles_of
from dimvida.data.columns import Columns
from dimvida.data.names import check_view_name, counted, split_family
from dimvida.data.opening import open_part
from dimvida.data.source import MultiViewSource
from dimvida.diffusion.masking import VIEW_LIMIT
from dimvida.errors import InputError
from dimvida.models.checkpoint import CheckpointConfig
from dimvida.training.config import TrainConfig
from dimvida.training.seeds import derived_generator


def open_for_training(
    path: Path,
    split: str | None,
    partition: Path | None,
    columns: Columns | None = None,
    nmr_views: Sequence[int] | None = None,
) -> tuple[MultiViewSource, str | None]:
    """Multi-view data and the split they are of: part d of a partition, a named split, or that for training.

    Data of a single split with a name of its own are taken whole.

    Raises:
        InputError: There are splits, and none or several of them are for training.
    """
    source, split = open_part(path, "train", split, partition, columns, nmr_views)
    chosen = split is not None or partition is not None
    if not chosen and source.splits and (len(source.splits) > 1 or split_family(source.splits[0]) is not None):
        raise InputError(
            f"{path}: none of its splits is called train or training; choose one of {', '.join(source.splits)} "
            "with --split"
        )
    return source, split


@dataclass(slots=True)
class TrainingData:
    """Objects, split into training and validation.

    Attributes:
        images: uint8 [N, V, C, H, W]; 0 where a view is absent.
        held_out: uint8 [M, V, C, H, W], of objects with at least two views.
        present: bool [N, V], the views that an object has, at least one.
        held_out_present: bool [M, V].
        held_out_ids: Ids of the M objects.
        view_names, classes: Names of the V views, and of the classes.
        cameras: Azimuth and elevation of each view in degrees, where the network is to be conditioned on them.
        description: What the provenance says of the data.
        digest: Hash of the ids, the pixels and which views are there.
        notes: What is missing in the data, one line each.
        skipped: Files that could not be read.
    """

    images: Tensor
    held_out: Tensor
    present: Tensor
    held_out_present: Tensor
    view_names: tuple[str, ...]
    classes: tuple[str, ...]
    description: dict[str, Any]
    digest: str
    held_out_ids: tuple[str, ...]
    notes: tuple[str, ...] = ()
    skipped: tuple[BadFile, ...] = ()
    cameras: tuple[tuple[float, float], ...] | None = None

    def digest_for(self, stage: str) -> str:
        """What stands for all that a stage is shown: the diffusion is shown the cameras, too."""
        return f"{self.digest} {list(self.cameras)}" if self.cameras and stage == "diffusion" else self.digest


def cameras_like(init: CheckpointConfig, view_names: Sequence[str]) -> dict[str, Camera] | None:
    """Where a checkpoint that was trained with cameras knows views of these names; None where it does not know all.

    A training that starts from its weights takes the views of data without cameras for these, as generating does.
    """
    known = dict(zip(init.view_names, init.cameras or (), strict=False))
    return {view: Camera(*known[view]) for view in view_names} if known.keys() >= set(view_names) else None


def prepare_data(
    batch: MultiViewBatch,
    classes: tuple[str, ...],
    config: TrainConfig,
    description: dict[str, Any],
    skipped: Sequence[BadFile] = (),
    cameras: Mapping[str, Camera] | None = None,
) -> TrainingData:
    """Keep the objects that have a view and hold some out for validation.

    Args:
        batch: All objects of the data, complete or not.
        classes: Names of the classes.
        config: Says how many to hold out, and whether the network is conditioned on cameras.
        description: What the provenance says of the data.
        skipped: Files that could not be read.
        cameras: Where the views are seen from, by their names, if the data say so.

    Raises:
        InputError: If fewer than two objects have two views, a view is nowhere, or its name cannot be one; or if views
            are to be drawn evenly spaced, and nothing says where they are seen from.
    """
    kept = batch.known.any(1)
    whole = bool(kept.all())  # then nothing need be copied: images may take much of the memory
    images, present = (batch.images, batch.known) if whole else (batch.images[kept], batch.known[kept])
    if config.diffusion_stage.views_even and (cameras is None or not config.takes_cameras):
        raise InputError(
            "diffusion_stage.views_even: nothing says how the views are spaced; it needs a cameras.json in the data, "
            "and a transformer that is conditioned on cameras"
        )
    ids = [name for name, there in zip(batch.ids, kept.tolist(), strict=True) if there]
    _require_enough(present, batch.view_names, config)
    order = torch.randperm(len(images), generator=derived_generator(config.seed, "validation"))
    chosen = _to_hold_out(present[order], config.validation)
    training, held_out = order[~chosen], order[chosen]
    _require_every_view(present[training], batch.view_names)
    digest = hashlib.sha256("\n".join(batch.ids).encode())
    digest.update(memoryview(images.contiguous().numpy()))
    if not present.all():
        digest.update(memoryview(present.contiguous().numpy()))
    counts = {
        "objects": len(training),
        "validation_objects": len(held_out),
        "partial_objects": int((~present.all(1)).sum()),
        "absent_views": int((~present).sum()),
        "left_out": len(batch) - len(images),
    }
    return TrainingData(
        images=images[training],
        held_out=images[held_out],
        present=present[training],
        held_out_present=present[held_out],
        view_names=batch.view_names,
        classes=classes,
        description={**description, **counts},
        digest=digest.hexdigest(),
        held_out_ids=tuple(ids[row] for row in held_out.tolist()),
        notes=(
            *_notes(present, len(batch) - len(images), batch.view_names),
            *_views_note(config.diffusion_stage.views_drawn, len(batch.view_names)),
        ),
        skipped=tuple(skipped),
        cameras=angles_of(cameras, batch.view_names) if config.takes_cameras else None,
    )


def _require_enough(present: Tensor, view_names: tuple[str, ...], config: TrainConfig) -> None:
    for name in view_names:
        check_view_name(name, "the data")  # or they could be trained, but not generated
    views = len(view_names)
    if views < 2:
        raise InputError("training needs at least two views per object; this data has one")
    if config.diffusion_stage.counts_of(views)[-1] > VIEW_LIMIT:
        hint = "; diffusion_stage.views_drawn takes some of them at a time" if config.score.takes_views else ""
        raise InputError(f"a training step takes at most {VIEW_LIMIT} views of an object, not {views}{hint}")
    several = int((present.sum(1) >= 2).sum())
    if several < 2:
        raise InputError(f"training needs at least 2 objects with two or more views each, not {several}")


def _require_every_view(present: Tensor, view_names: tuple[str, ...]) -> None:
    for name, somewhere in zip(view_names, present.any(0).tolist(), strict=True):
        if not somewhere:
            raise InputError(f"no object to train on has the view {name!r}; add some, or remove that view everywhere")


def _to_hold_out(present: Tensor, fraction: float) -> Tensor:
    """Which rows of present [N, V] validate, bool [N].

    The first complete ones, as only they compare with one another. Only they train how all views go together, too:
    where there are not many, no more than half of them, and then the first of those that have at least two views.
    """
    counts = present.sum(1)
    several = int((counts >= 2).sum())
    wanted = min(max(1, round(fraction * several)), several - 1)
    complete = counts == present.shape[1]
    first_half = complete & (complete.cumsum(0) <= complete.sum() // 2)
    rank = torch.where(first_half, 0, torch.where(complete, 2, 1)).masked_fill(counts < 2, 3)
    chosen = torch.zeros(len(present), dtype=torch.bool)
    chosen[rank.argsort(stable=True)[:wanted]] = True
    return chosen


def _notes(present: Tensor, left_out: int, view_names: tuple[str, ...]) -> tuple[str, ...]:
    notes = []
    if left_out:
        notes.append(f"{counted(left_out, 'object')} left out: no view can be read")
    partial = int((~present.all(1)).sum())
    if partial:
        absent = int((~present).sum())
        notes.append(
            f"{counted(partial, 'object')} of {len(present)} not complete ({counted(absent, 'view')} absent of "
            f"{present.numel()}); they train what they have"
        )
    together = present.float().T @ present.float()  # [V, V]
    if not together.all():
        one, other = (view_names[view] for view in (together == 0).nonzero()[0].tolist())
        notes.append(f"no object has both {one!r} and {other!r}: how the two go together cannot be learned")
    return tuple(notes)


def _views_note(drawn: int, views: int) -> tuple[str, ...]:
    if drawn <= views:
        return ()
    return (f"diffusion_stage.views_drawn {drawn}: the data have {views} views, so a step takes all of them",)


@dataclass(slots=True)
class LabelledImages:
    """Pictures with labels, for training and for validation.

    Attributes:
        images: uint8 [N, C, H, W], RGB or gray.
        labels: int64 [N], places in ``classes``.
        classes: Names of the classes.
        held_out: uint8 [M, C, H, W], of other objects; may be empty.
        held_out_labels: int64 [M].
        description: What the provenance says of the data.
    """

    images: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    held_out: Tensor
    held_out_labels: Tensor
    description: dict[str, Any] = field(default_factory=dict)

    def digest(self) -> str:
        """Hex SHA-256 of the pictures, labels and classes."""
        digest = hashlib.sha256("\n".join(self.classes).encode())
        for tensor in (self.images, self.labels, self.held_out, self.held_out_labels):
            digest.update(f"\0{list(tensor.shape)}\0".encode())
            digest.update(memoryview(tensor.contiguous().numpy()))
        return digest.hexdigest()


def all_views(
    batch: MultiViewBatch, classes: tuple[str, ...], validation: float, seed: int, description: dict[str, Any]
) -> LabelledImages:
    """Every view of every object, with a fraction of the objects held out.

    Args:
        batch: Objects with labels; views that are absent are left out.
        classes: Names of the labels.
        validation: Fraction of the objects to hold out.
        seed: Decides which objects are held out.
        description: What the provenance says of the data.

    Raises:
        InputError: There are fewer than two objects, or some without a class.
    """
    require_labels(batch.labels, classes)
    if len(batch) < 2:
        raise InputError(f"training a classifier needs at least 2 objects, not {len(batch)}")
    count = min(max(1, round(validation * len(batch))), len(batch) - 1)
    order = torch.randperm(len(batch), generator=derived_generator(seed, "classifier/validation"))
    held_out, kept = order[:count], order[count:]
    images, labels = _pictures(batch, kept)
    return LabelledImages(
        images,
        labels,
        classes,
        *_pictures(batch, held_out),
        {**description, "objects": len(kept), "validation_objects": count},
    )


def require_labels(labels: Tensor, classes: tuple[str, ...]) -> None:
    """Raise InputError unless every object has a class, and there are at least two classes."""
    if bool((labels < 0).any()):
        raise InputError("a classifier needs the class of every object; name them by folders, <class>/<object>/")
    if len(classes) < 2:
        raise InputError(f"a classifier needs at least 2 classes; this data has {len(classes)}")


def _pictures(batch: MultiViewBatch, rows: Tensor) -> tuple[Tensor, Tensor]:
    known = batch.known[rows]
    labels = batch.labels[rows, None].expand_as(known)
    return batch.images[rows][known], labels[known]
