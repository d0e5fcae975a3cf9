"""What a training is made of: complete objects, some of them held out."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dimvida.data.batch import BadFile, MultiViewBatch
from dimvida.errors import InputError
from dimvida.training.config import TrainConfig
from dimvida.training.seeds import derived_generator


@dataclass(slots=True)
class TrainingData:
    """Complete objects, split into training and validation.

    Attributes:
        images: uint8 [N, V, C, H, W].
        held_out: uint8 [M, V, C, H, W].
        view_names, classes: Names.
        description: What the provenance says of the data.
        digest: Hash of the ids and pixels.
        left_out: Objects without all views, which are not among these.
        skipped: Files that could not be read.
    """

    images: Tensor
    held_out: Tensor
    view_names: tuple[str, ...]
    classes: tuple[str, ...]
    description: dict[str, Any]
    digest: str
    left_out: int = 0
    skipped: tuple[BadFile, ...] = ()


def prepare_data(
    batch: MultiViewBatch,
    classes: tuple[str, ...],
    config: TrainConfig,
    description: dict[str, Any],
    skipped: Sequence[BadFile] = (),
) -> TrainingData:
    """Keep the objects that have all views and hold some out for validation.

    Raises:
        InputError: If fewer than two complete objects remain, or fewer than two views exist.
    """
    if len(batch.view_names) < 2:
        raise InputError("training needs at least two views per object; this data has one")
    complete = batch.known.all(1)
    images = batch.images[complete]
    if len(images) < 2:
        raise InputError(f"training needs at least 2 objects with all {len(batch.view_names)} views, not {len(images)}")
    held_out = min(max(1, round(config.validation * len(images))), len(images) - 1)
    order = torch.randperm(len(images), generator=derived_generator(config.seed, "validation"))
    digest = hashlib.sha256("\n".join(batch.ids).encode())
    digest.update(memoryview(images.contiguous().numpy()))
    left_out = len(batch) - len(images)
    counts = {"objects": len(images) - held_out, "validation_objects": held_out, "left_out": left_out}
    return TrainingData(
        images=images[order[held_out:]],
        held_out=images[order[:held_out]],
        view_names=batch.view_names,
        classes=classes,
        description={**description, **counts},
        digest=digest.hexdigest(),
        left_out=left_out,
        skipped=tuple(skipped),
    )
