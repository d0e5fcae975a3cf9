"""What a classifier is trained on: single views with labels, some objects held out."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from dimvida.data.batch import MultiViewBatch
from dimvida.errors import InputError
from dimvida.training.seeds import derived_generator


@dataclass(slots=True)
class LabelledImages:
    """Pictures with labels, for training and for validation.

    Attributes:
        images: uint8 [N, 3, H, W].
        labels: int64 [N], places in ``classes``.
        classes: Names of the classes.
        held_out: uint8 [M, 3, H, W], of other objects; may be empty.
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
        seed: Of that choice.
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
