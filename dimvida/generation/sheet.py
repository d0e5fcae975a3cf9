"""A contact sheet of an output: the given view marked, the generated ones, the true ones for comparison."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dimvida.data.contact_sheet import Tile, draw_contact_sheet, save_contact_sheet
from dimvida.data.images import resize_image, with_channels
from dimvida.data.sheets import compared_rows
from dimvida.data.source import MultiViewSource
from dimvida.errors import UnreadableImage
from dimvida.generation.cameras import caption, same_camera
from dimvida.generation.formats import FORMATS
from dimvida.generation.plan import GenerationPlan, Row

if TYPE_CHECKING:
    from PIL import Image

    from dimvida.generation.run import Generation

CARD_ROWS = 4
READ_AHEAD = 64
"""Rows of a shard whose lines are parsed at once: more than one, for the inputs of many in a row may be damaged."""


def write_sheet(path: str | Path, generation: Generation, truth: MultiViewSource, rows: int) -> None:
    """Draw rows of a finished output, spread evenly over the plan, and save them.

    Pictures are read from the output, so the sheet shows what is there.

    Args:
        path: Where to; the suffix chooses the format.
        generation: The finished run.
        truth: Multi-view data with the generated views of the same objects (by class and name), which may
            be the input itself. Views at any angle are compared with those that were taken there. Where it has none
            of them the sheet shows no true views.
        rows: Most rows of the sheet, each a row of the plan.

    Raises:
        InputError: The sheet cannot be written, or a picture of the output is damaged.
    """
    save_contact_sheet(_draw(generation, truth, rows), path, parents=True)


def card_picture(generation: Generation) -> bytes:
    """A sheet of a few rows without true views, as a PNG file; see ``write_sheet``."""
    buffer = io.BytesIO()
    _draw(generation, None, CARD_ROWS).save(buffer, "PNG")
    return buffer.getvalue()


def _draw(generation: Generation, truth: MultiViewSource | None, rows: int) -> Image.Image:
    drawer = _Drawer(generation, truth)
    drawn = [drawer.pictures(place, row) for place, row in drawer.choose(rows)]
    compared = [view for view in generation.plan.view_names if any(view in true for _, _, true in drawn)]
    sheet_rows = []
    for row, tiles, true in drawn:
        beside = [drawer.true_tile(true, view) if view in compared else None for view in generation.plan.view_names]
        sheet_rows += compared_rows(_title(row), tiles, beside)
    return draw_contact_sheet(sheet_rows, header=_header(generation))


class _Drawer:
    def __init__(self, generation: Generation, truth: MultiViewSource | None) -> None:
        self._generation, self._truth = generation, truth
        records = () if truth is None else truth.records
        self._places = {(record.class_name, record.name): index for index, record in enumerate(records)}
        cameras = generation.plan.cameras or {}
        self._captions = {view: caption(view, cameras.get(view)) for view in generation.plan.view_names}
        self._true_names = {} if truth is None else _true_names(generation.plan, truth)
        self._form = FORMATS[generation.settings.format]
        self._chosen: list[int] = []  # places of the plan
        self._stem, self._asked = "", set[tuple[str, int]]()  # the last shard, and the rows that were asked for there
        self._lines: dict[tuple[str, int], dict[str, Any]] = {}

    def choose(self, count: int) -> Iterator[tuple[int, Row]]:
        """Places of the plan at even distances and their rows; for one without pictures (of a bad input) the next."""
        plan = self._generation.plan
        count, start = min(count, len(plan)), 0
        self._chosen = [number * len(plan) // count for number in range(count)]
        for first in self._chosen:
            for place in range(max(start, first), len(plan)):
                if self._lines_of(place):
                    yield place, plan.row(place)
                    start = place + 1
                    break

    def pictures(self, place: int, row: Row) -> tuple[Row, list[Tile], dict[str, np.ndarray]]:
        """The tiles of every view of the model, and the true pictures of the generated ones."""
        task, source = row.task, self._generation.plan.source
        tiles, generated = [], self._generated(place)
        for view in self._generation.plan.view_names:
            if view in task.known:
                tiles.append(Tile(self._read(source, task.index, view), self._captions[view], "given"))
            elif view in task.targets:
                tiles.append(Tile(generated[view], self._captions[view], "generated"))
            else:
                tiles.append(Tile(None, self._captions[view], "missing"))
        index = self._places.get((task.record.class_name, task.record.name))
        true = {}
        if index is not None:
            true = {view: self._read(self._truth, index, self._true_names[view]) for view in task.targets}
        return row, tiles, {view: image for view, image in true.items() if image is not None}

    def true_tile(self, true: dict[str, np.ndarray], view: str) -> Tile:
        """The true picture of a view, or its empty place."""
        return Tile(true.get(view), self._captions[view], "true" if view in true else "missing")

    def _read(self, source: MultiViewSource, index: int, view: str) -> np.ndarray | None:
        if view not in source.records[index].views:
            return None
        try:
            image = with_channels(source.read_view(index, view), self._generation.model.channels)
            return resize_image(image.pixels, self._generation.model.image_size)
        except UnreadableImage:
            return None  # of the truth; a known view was read before

    def _generated(self, place: int) -> dict[str, np.ndarray]:
        """The pictures of a row by their views, as the output has them."""
        lines = self._lines_of(place)
        pictures = self._form.pixels(self._generation.output.folder, self._stem, list(lines.values()))
        return dict(zip(lines, pictures, strict=True))

    def _lines_of(self, place: int) -> dict[str, dict[str, Any]]:
        """What the output says about the pictures of a row, by their views."""
        generation, row = self._generation, self._generation.plan.row(place)
        shard = generation.shards[place // generation.settings.shard_size]
        if self._stem != shard.stem or _key(row) not in self._asked:
            asked = {other for other in self._chosen if shard.start <= other < shard.stop}
            if place not in asked:  # one before it has no pictures
                asked |= set(range(place, min(place + READ_AHEAD, shard.stop)))
            rows = [generation.plan.row(other) for other in asked]
            left = {_key(row): generation.packer.pictures_of(row) for row in rows}
            self._stem, self._asked, self._lines = shard.stem, set(left), {}
            sources = {source for source, _ in left}
            with closing(self._form.lines(generation.output.folder, shard.stem, sources)) as lines:
                for line in lines:
                    key = (line["source"], line["draw"])
                    self._lines.setdefault(key, {})[line["view"]] = line
                    if left.get(key) == 1:
                        del left[key]
                        if not left:  # the rest of the shard is about others
                            break
                    elif key in left:
                        left[key] -= 1
        return self._lines.get(_key(row), {})


def _key(row: Row) -> tuple[str, int]:
    """What the lines about a row's pictures say of it."""
    return row.task.record.id, row.draw


def _true_names(plan: GenerationPlan, truth: MultiViewSource) -> dict[str, str]:
    """What the true views of those of a plan are called: the same, or whatever was taken from the same place."""
    names = {view: view for view in plan.view_names}
    for view, camera in (plan.cameras or {}).items():
        there = [name for name, other in (truth.cameras or {}).items() if same_camera(camera, other)]
        names[view] = there[0] if there else view
    return names


def _title(row: Row) -> str:
    name = row.task.record.name + (f", draw {row.draw}" if row.draw else "")
    return "\n".join(filter(None, (name, row.task.record.class_name)))


def _header(generation: Generation) -> str:
    given = {" + ".join(known) for known, _ in generation.plan.tasks.kinds}
    views = given.pop() if len(given) == 1 else "different views"
    settings = generation.settings
    return f"Completed from {views} ({settings.solver}, {settings.steps} steps, seed {settings.seed})"
