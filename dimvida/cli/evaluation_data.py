"""The objects that commands evaluate on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dimvida.cli.progress import ProgressBar
from dimvida.cli.terminal import note, print_wrapped

if TYPE_CHECKING:
    from dimvida.data.batch import BadFile, MultiViewBatch
    from dimvida.data.source import MultiViewSource
    from dimvida.models.classifiers import ImageClassifier
    from dimvida.sampling.multiview import MultiViewModel


def open_for_evaluation(
    path: Path,
    split: str | None,
    partition: Path | None = None,
    column: list[str] | None = None,
    nmr_views: str | None = None,
) -> MultiViewSource:
    """Multi-view data; without a split's name its test split, and if it has none all. Of a partition, its part e.

    Says where the choice may surprise.

    Raises:
        InputError: There are several test splits.
    """
    from dimvida.data.columns import parse_columns
    from dimvida.data.nmr_arrays import parse_nmr_views
    from dimvida.data.opening import open_part

    source, split = open_part(path, "test", split, partition, parse_columns(column), parse_nmr_views(nmr_views))
    if split is None and partition is None and source.splits:
        names = ", ".join(source.splits)
        note(f"none of the splits is called test or testing: objects of all ({names}) are taken; see --split")
    return source


def read_objects(
    source: MultiViewSource, model: MultiViewModel, limit: int | None, view_names: Sequence[str]
) -> tuple[MultiViewBatch, list[BadFile]]:
    """The objects with all of some views, with progress, and the files that cannot be read.

    Prints what was left out and how images were converted.
    """
    from dimvida.evaluation.objects import load_complete

    total = min(limit or len(source), len(source))
    with ProgressBar("reading", total, "objects") as bar:
        objects, bad, notes = load_complete(
            source, view_names, model.image_size, channels=model.channels, limit=limit, progress=bar.update
        )
    for text in (*source.notes, *notes):
        note(text)
    return objects, [*source.left_out, *bad]


def print_judge(judge: ImageClassifier, folder: Path, image_size: int) -> None:
    """Say what judges coherence, before it does."""
    config = judge.config
    kind = {1: " gray", 3: " RGB"}.get(config.channels, "")
    size = f"trained on{kind} images of {config.image_size} x {config.image_size} pixels"
    if not config.image_size:
        size = f"which does not say what size it was trained at and is shown {image_size} x {image_size} pixels"
    elif config.image_size != image_size:
        size += f", to which those of {image_size} x {image_size} are brought"
    print_wrapped(f"judge: {folder}, a {config.name} of {len(config.classes)} classes, {size}")
