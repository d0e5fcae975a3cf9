"""A contact sheet of an output: the given view marked, the generated ones, the true ones for comparison."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from dimvida.data.contact_sheet import Tile, draw_contact_sheet, save_contact_sheet
from dimvida.data.images import resize_image, with_channels
from dimvida.data.opening import open_source
from dimvida.data.sheets import compared_rows
from dimvida.data.source import MultiViewSource
from dimvida.errors import UnreadableImage
from dimvida.generation.cameras import caption, same_camera
from dimvida.generation.plan import GenerationPlan, Row
from dimvida.generation.run import Generation


def write_sheet(path: str | Path, generation: Generation, truth: MultiViewSource, rows: int) -> None:
    """Draw rows of a finished output, spread evenly over the plan, and save them.

    Pictures are read from the output, so the sheet shows what is there.

    Args:
        path: Where to; the suffix chooses the format.
        generation: The finished run.
        truth: Multi-view data with the generated views of the same objects (by class and name), which may
            be the input itself. Views at any angle are compared with those that were taken there. Where it has none
            of them the sheet shows no true views.
        rows: How many rows at most.

    Raises:
        InputError: The sheet cannot be written, or a picture of the output is damaged.
    """
    drawer = _Drawer(generation, truth)
    drawn = [drawer.pictures(row) for row in drawer.choose(rows)]
    compared = [view for view in generation.plan.view_names if any(view in true for _, _, true in drawn)]
    sheet_rows = []
    for row, tiles, true in drawn:
        beside = [drawer.true_tile(true, view) if view in compared else None for view in generation.plan.view_names]
        sheet_rows += compared_rows(_title(row), tiles, beside)
    sheet = draw_contact_sheet(sheet_rows, header=_header(generation))
    save_contact_sheet(sheet, path, parents=True)


class _Drawer:
    def __init__(self, generation: Generation, truth: MultiViewSource) -> None:
        self._generation, self._truth = generation, truth
        self._places = {(record.class_name, record.name): index for index, record in enumerate(truth.records)}
        cameras = generation.plan.cameras or {}
        self._captions = {view: caption(view, cameras.get(view)) for view in generation.plan.view_names}
        self._true_names = _true_names(generation.plan, truth)
        self._output = open_source(generation.output.folder)
        self._written = {(record.class_name, record.name): i for i, record in enumerate(self._output.records)}

    def choose(self, count: int) -> Iterator[Row]:
        """Rows at even distances; in place of one without pictures (its input was unreadable) the next."""
        plan = self._generation.plan
        count, start = min(count, len(plan)), 0
        for number in range(count):
            for place in range(max(start, number * len(plan) // count), len(plan)):
                if self._key(plan.row(place)) in self._written:
                    yield plan.row(place)
                    start = place + 1
                    break

    def pictures(self, row: Row) -> tuple[Row, list[Tile], dict[str, np.ndarray]]:
        """The tiles of every view of the model, and the true pictures of the generated ones."""
        task, source = row.task, self._generation.plan.source
        tiles = []
        for view in self._generation.plan.view_names:
            if view in task.known:
                tiles.append(Tile(self._read(source, task.index, view), self._captions[view], "given"))
            elif view in task.targets:
                tiles.append(Tile(self._generated(row, view), self._captions[view], "generated"))
            else:
                tiles.append(Tile(None, self._captions[view], "missing"))
        place = self._places.get((task.record.class_name, task.record.name))
        true = {}
        if place is not None:
            true = {view: self._read(self._truth, place, self._true_names[view]) for view in task.targets}
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

    def _generated(self, row: Row, view: str) -> np.ndarray:
        return self._output.read_view(self._written[self._key(row)], view).pixels

    def _key(self, row: Row) -> tuple[str, str]:
        """Class and name of a row among the objects of the output."""
        return row.task.record.class_name, self._generation.names.key(row.task, row.draw).rpartition("/")[2]


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
    given = {" + ".join(task.known) for task in generation.plan.tasks}
    views = given.pop() if len(given) == 1 else "different views"
    settings = generation.settings
    return f"Completed from {views} ({settings.solver}, {settings.steps} steps, seed {settings.seed})"
