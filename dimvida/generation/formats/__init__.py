"""How a shard is stored: one file per form, behind one small interface."""

from __future__ import annotations

from pathlib import Path

from dimvida.generation.formats.base import ShardWriter
from dimvida.generation.formats.imagefolder import ImageFolderWriter
from dimvida.generation.formats.npy import NpyWriter
from dimvida.generation.formats.parquet import ParquetWriter
from dimvida.generation.formats.webdataset import WebDatasetWriter
from dimvida.generation.storage import Place

FORMATS: dict[str, type[ShardWriter]] = {
    "imagefolder": ImageFolderWriter,
    "webdataset": WebDatasetWriter,
    "npy": NpyWriter,
    "parquet": ParquetWriter,
}


def remove_shard(folder: Place, stem: str) -> None:
    """Remove everything that any form's writer may have left of a shard, its stats file first."""
    (folder / f"{stem}.json").unlink(missing_ok=True)
    for writer in FORMATS.values():
        if writer.takes_urls or isinstance(folder, Path):
            writer.remove(folder, stem)
