"""Rows of contact sheets: the views of an object, beside what they are compared with, and examples out of a source."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from dimvida.data.contact_sheet import WIDE, SheetRow, Tile
from dimvida.data.source import MultiViewSource, spread
from dimvida.errors import UnreadableImage

EXAMPLE_COLUMNS = 24
"""Most views that :func:`example_rows` shows of an object."""


def view_tiles(
    views: Iterable[Any], names: Sequence[str], kinds: str | Sequence[str], present: Iterable[Any] | None = None
) -> list[Tile]:
    """The views of an object as batches and models have them, as tiles of one row.

    Args:
        views: One after another, uint8 ``[C, H, W]`` with 1 or 3 channels: an array or tensor ``[V, C, H, W]`` on the
            CPU will do.
        names: The name of each.
        kinds: The kind of each, or one for all; see :class:`Tile`.
        present: Whether each is there; those that are not become empty places. All are without it.
    """
    kinds = [kinds] * len(names) if isinstance(kinds, str) else kinds
    present = [True] * len(names) if present is None else present
    return [
        Tile(np.asarray(view).transpose(1, 2, 0), name, kind) if there else Tile(None, name, "missing")
        for view, name, kind, there in zip(views, names, kinds, present, strict=True)
    ]


def compared_rows(title: str, tiles: Sequence[Tile], true: Sequence[Tile | None]) -> list[SheetRow]:
    """An object's tiles with the true views: beside each other, or below each other where that is too wide.

    Args:
        title: Title of the object's row.
        tiles: One for each view.
        true: To compare with each of them; None where there is nothing to compare.
    """
    others = [tile for tile in true if tile is not None]
    if len(tiles) <= WIDE or not others:
        return [SheetRow(title, [*tiles, *others])]
    # A given view is a true one, too.
    below = [
        tile if tile.kind == "given" else other or Tile(None, tile.caption, "missing")
        for tile, other in zip(tiles, true, strict=True)
    ]
    return [SheetRow(title, tiles), SheetRow("true", below)]


def example_rows(source: MultiViewSource, count: int) -> list[SheetRow]:
    """Contact sheet rows of ``count`` objects spread over the classes, or of all if there are fewer."""
    views = source.view_names[:EXAMPLE_COLUMNS]
    rows = []
    for index in _spread(source, count):
        record = source.records[index]
        kinds = {view: source.kind(index, view) for view in record.views}
        # In the output of a model the recorded views are those it was given.
        real = "given" if "generated" in kinds.values() else "true"
        tiles = [_tile(source, index, view, "generated" if kinds.get(view) == "generated" else real) for view in views]
        below = "/".join(part for part in (record.split, record.class_name) if part)
        rows.append(SheetRow(f"{record.name}\n{below}" if below else record.name, tiles))
    return rows


def _spread(source: MultiViewSource, count: int) -> list[int]:
    by_class: dict[str, list[int]] = {}
    for index, record in enumerate(source.records):
        by_class.setdefault(record.class_name, []).append(index)
    groups = spread([by_class[name] for name in sorted(by_class)], count)
    # Each class in turn gives one more object until there are enough.
    shares = [0] * len(groups)
    left = min(count, sum(map(len, groups)))
    while left > 0:
        for place, group in enumerate(groups):
            if left > 0 and shares[place] < len(group):
                shares[place] += 1
                left -= 1
    return [
        group[(2 * pick + 1) * len(group) // (2 * share)]
        for group, share in zip(groups, shares, strict=True)
        for pick in range(share)
    ]


def _tile(source: MultiViewSource, index: int, view: str, kind: str) -> Tile:
    if view not in source.records[index].views:
        return Tile(None, view, "missing")
    try:
        return Tile(source.read_view(index, view).pixels, view, kind)
    except UnreadableImage:
        return Tile(None, view, "missing")
