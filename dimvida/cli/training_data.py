"""The objects that commands train on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dimvida.data.source import MultiViewSource


def open_for_training(path: Path, split: str | None, partition: Path | None) -> tuple[MultiViewSource, str | None]:
    """Multi-view data and the split they are of: part d of a partition, a named split, or ``train`` if there is one."""
    from dimvida.data.opening import open_source
    from dimvida.data.partitions import select_partition

    source = open_source(path)
    # A partition names its objects itself, of whatever split.
    if split is None and partition is None and "train" in source.splits:
        split = "train"
    if split is not None:
        source = open_source(path, split=split)
    if partition is not None:
        source = select_partition(source, partition, "d")
    return source, split
