"""The objects that commands train on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dimvida.errors import InputError

if TYPE_CHECKING:
    from dimvida.data.source import MultiViewSource


def open_for_training(path: Path, split: str | None, partition: Path | None) -> tuple[MultiViewSource, str | None]:
    """Multi-view data and the split they are of: part d of a partition, a named split, or that for training.

    Data of a single split with a name of its own are taken whole.

    Raises:
        InputError: There are splits, and none or several of them are for training.
    """
    from dimvida.data.names import split_family
    from dimvida.data.opening import open_source
    from dimvida.data.partitions import select_partition

    source = open_source(path, split=split)
    if partition is not None:  # it names its objects itself, of whatever split
        return select_partition(source, partition, "d"), split
    if split is not None or not source.splits:
        return source, split
    split = source.split_for("train")
    if split is None:
        if len(source.splits) > 1 or split_family(source.splits[0]) is not None:
            raise InputError(
                f"{path}: none of its splits is called train or training; choose one of {', '.join(source.splits)} "
                "with --split"
            )
        return source, None
    return open_source(path, split=split), split
