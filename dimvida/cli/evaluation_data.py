"""The objects that commands evaluate on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dimvida.cli.progress import ProgressBar
from dimvida.errors import DimvidaError

if TYPE_CHECKING:
    from dimvida.data.batch import BadFile, MultiViewBatch
    from dimvida.data.source import MultiViewSource
    from dimvida.sampling.multiview import MultiViewModel


def open_for_evaluation(path: Path, split: str | None, partition: Path | None = None) -> MultiViewSource:
    """Multi-view data; without a split's name its ``test`` split, if there is one. Of a partition, its part e."""
    from dimvida.data.opening import open_source
    from dimvida.data.partitions import select_partition

    source = open_source(path, split=split)
    if partition is not None:  # it names its objects itself, of whatever split
        return select_partition(source, partition, "e")
    return open_source(path, split="test") if split is None and "test" in source.splits else source


def read_objects(
    source: MultiViewSource, model: MultiViewModel, limit: int | None
) -> tuple[MultiViewBatch, list[BadFile]]:
    """The complete objects with progress, and the files that cannot be read; prints how images were converted."""
    from dimvida.evaluation.objects import load_complete

    total = min(limit or len(source), len(source))
    with ProgressBar("reading", total, "objects") as bar:
        objects, bad, notes = load_complete(
            source, model.view_names, model.image_size, channels=model.channels, limit=limit, progress=bar.update
        )
    for note in (*source.notes, *notes):
        print(f"note: {note}")
    return objects, bad


def require_readable(bad: Sequence[BadFile]) -> None:
    """Raise DimvidaError if a file could not be read."""
    if bad:
        raise DimvidaError(
            f"{len(bad)} files cannot be read and their objects were left out; the first: {bad[0].location}: "
            f"{bad[0].reason} (not an error with --skip-bad)"
        )
