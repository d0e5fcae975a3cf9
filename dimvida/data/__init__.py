"""Multi-view data: loaders, batches, partitions, contact sheets, rendering and procedural shapes.

::

    source = open_source("views.zip", split="train")
    batch, bad, notes = load_batch(source, range(64), image_size=64)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dimvida.data.batch import BadFile, MultiViewBatch, load_all, load_batch
    from dimvida.data.cameras import Camera
    from dimvida.data.contact_sheet import SheetRow, Tile, draw_contact_sheet
    from dimvida.data.opening import open_source
    from dimvida.data.partitions import Partitions, make_partitions, select_partition
    from dimvida.data.source import MultiViewSource, ObjectRecord, ViewImage

_HOMES = {
    "BadFile": "source",
    "Camera": "cameras",
    "MultiViewBatch": "batch",
    "MultiViewSource": "source",
    "ObjectRecord": "source",
    "Partitions": "partitions",
    "SheetRow": "contact_sheet",
    "Tile": "contact_sheet",
    "ViewImage": "source",
    "draw_contact_sheet": "contact_sheet",
    "load_all": "batch",
    "load_batch": "batch",
    "make_partitions": "partitions",
    "open_source": "opening",
    "select_partition": "partitions",
}

__all__ = [
    "BadFile",
    "Camera",
    "MultiViewBatch",
    "MultiViewSource",
    "ObjectRecord",
    "Partitions",
    "SheetRow",
    "Tile",
    "ViewImage",
    "draw_contact_sheet",
    "load_all",
    "load_batch",
    "make_partitions",
    "open_source",
    "select_partition",
]


def __getattr__(name: str) -> Any:
    # Batches need torch, which takes seconds to import; looking at a data set does not.
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
