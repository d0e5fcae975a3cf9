"""The gallery of an output of ``dimvida generate``: a page to look through it, which works without a server.

    gallery/<output>/index.html      the page, whose script asks for what is looked at, by tags: file:// has no fetch
    gallery/<output>/gallery.js      that script
    gallery/<output>/overview.js     views, classes, what was skipped
    gallery/<output>/names.js        the names of all objects, asked for by the first search
    gallery/<output>/00012.js        the objects of a page: names, and which of their views are given
    gallery/<output>/00012.webp      all their pictures, reduced to tiles of at most ``TILE`` pixels

A page holds objects of one class. Names go through JSON and ``textContent`` only, so that none of them is markup.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from io import BytesIO
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from dimvida.data.images import resize_image, to_picture
from dimvida.data.names import UNLABELED
from dimvida.data.source import MultiViewSource, spread
from dimvida.errors import UnreadableImage
from dimvida.files import atomic_write
from dimvida.report.document import Block, Heading, Link, Section, Text
from dimvida.report.reading import GeneratedOutput, Part, slug
from dimvida.report.writing import render_template
from dimvida.results.tables import Column, Table, TableCell, text_column

FOLDER = "gallery"
TILE = 96
"""Most pixels of a tile's edge."""

MOST_PICTURES = 100_000
"""Pictures that a gallery shows at most; of a larger output, objects at even distances. A tile of 64
pixels takes about 0.4 KB (docs/report.md)."""

PAGE_OBJECTS, PAGE_PICTURES = 48, 1_600  # at most, on a page
SKIPPED_SHOWN = 1_000
ABSENT, GIVEN, MADE = "012"

_OWN = re.compile(r"\d{5,}\.(js|webp)|(overview|names|gallery)\.js|index\.html")


@dataclass(frozen=True, slots=True)
class Shown:
    """What a gallery shows: the output's objects, perhaps not all, and where the views that were given come from.

    Attributes:
        source: The output's pictures, opened as a data set.
        indices: Which objects, by class and name.
        views: Names of the views, in order.
        given: The data that the views were generated from, if they are at hand, and the place of each of its objects.
    """

    source: MultiViewSource
    indices: list[int]
    views: tuple[str, ...]
    given: tuple[MultiViewSource, dict[str, int]] | None

    def class_of(self, index: int) -> str:
        """The class of an object of the output."""
        return self.source.records[index].class_name

    def tiles(self, index: int, edge: int) -> Iterator[tuple[str, np.ndarray | None]]:
        """What each view is, ``ABSENT``, ``GIVEN`` or ``MADE``, and its picture if any, uint8 [edge, edge, 3]."""
        record = self.source.records[index]
        origin = self._origin(record.id)
        for view in self.views:
            source, place, kind = self.source, index, ABSENT
            if view in record.views:
                kind = GIVEN if self.source.kind(index, view) == "real" else MADE
            elif origin is not None and view in self.given[0].records[origin].views:
                source, place, kind = self.given[0], origin, GIVEN
            if kind == ABSENT:
                yield kind, None
                continue
            try:
                yield kind, resize_image(source.read_view(place, view).pixels, edge)
            except UnreadableImage:
                yield ABSENT, None

    def _origin(self, name: str) -> int | None:
        """The place in the given data of what an object was generated from; a draw has its number behind its name."""
        if self.given is None:
            return None
        return self.given[1].get(name, self.given[1].get(re.sub(r"-\d+$", "", name)))


def choose(source: MultiViewSource, view_names: Sequence[str], given: MultiViewSource | None) -> Shown:
    """What a gallery of an output shows.

    Args:
        source: The output's pictures, opened as a data set.
        view_names: Views that its configuration names.
        given: The data that it was generated from, or None.
    """
    there = set(source.view_names).union(given.view_names if given is not None else ())
    views = tuple(view for view in dict.fromkeys([*view_names, *source.view_names]) if view in there)
    indices = sorted(range(len(source)), key=lambda i: (source.records[i].class_name, source.records[i].id))
    places = None if given is None else {record.id: place for place, record in enumerate(given.records)}
    return Shown(source, spread(indices, max(1, MOST_PICTURES // len(views))), views, places and (given, places))


def write_gallery(part: Part[GeneratedOutput], shown: Shown, folder: Path) -> None:
    """Write the gallery of an output into a folder of its own. One that is there is replaced.

    Raises:
        OSError: It cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        if _OWN.fullmatch(path.name):
            path.unlink()
    edge = min(TILE, part.record.configuration["image_size"])
    per_page = max(1, min(PAGE_OBJECTS, PAGE_PICTURES // len(shown.views)))
    columns = math.ceil(math.sqrt(per_page * len(shown.views)))
    classes: list[list[Any]] = []
    names: list[list[str]] = []
    for class_name, members in groupby(shown.indices, shown.class_of):
        indices = list(members)
        classes.append([class_name or UNLABELED, len(names), len(indices)])
        for start in range(0, len(indices), per_page):
            number = len(names)
            names.append([shown.source.records[index].id for index in indices[start : start + per_page]])
            kinds, sheet = _draw(shown, indices[start : start + per_page], edge, columns)
            rows = [list(row) for row in zip(names[-1], kinds, strict=True)]
            _write_script(folder / f"{number:05d}.js", f"arrived.set({number}, %s)", rows)
            (folder / f"{number:05d}.webp").write_bytes(sheet)
    overview = {"views": shown.views, "perPage": per_page, "columns": columns, "edge": edge, "classes": classes}
    _write_script(folder / "overview.js", "const overview = %s", overview)
    _write_script(folder / "names.js", "allNames.push(...%s)", names)
    script = resources.files("dimvida.report").joinpath("gallery.js").read_text(encoding="utf-8")
    (folder / "gallery.js").write_text(script, encoding="utf-8")
    atomic_write(folder / "index.html", _page(part, shown, classes))


def generated_section(parts: Sequence[Part[GeneratedOutput]]) -> Section:
    """Counts of every output, and the way to its gallery."""
    columns = [text_column("output"), Column("objects"), Column("generated views"), Column("skipped files")]
    rows = []
    for part in parts:
        counts = part.record.result.objects, part.record.result.views, len(part.record.skipped)
        rows.append([TableCell(part.label), *(TableCell(f"{count:,}") for count in counts)])
    blocks: list[Block] = [Table("Outputs of dimvida generate.", columns, rows)]
    for part in parts:
        blocks += [Heading(part.label)] if len(parts) > 1 else []
        blocks.append(Link(f"Look through {part.label}", address(part)))
        blocks += [Text(line) for line in part.record.lines]
    return Section("generated", "Generated views", blocks)


def address(part: Part[GeneratedOutput]) -> str:
    """Where the page of a gallery lies beside the report."""
    return f"{FOLDER}/{slug(part.label)}/index.html"


def _draw(shown: Shown, indices: Sequence[int], edge: int, columns: int) -> tuple[list[str], bytes]:
    """What each object's views are, a digit each, and all tiles on one sheet, row by row, as a WebP file."""
    rows = math.ceil(len(indices) * len(shown.views) / columns)
    sheet = np.full((rows * edge, columns * edge, 3), 255, np.uint8)
    kinds, place = [], 0
    for index in indices:
        found = ""
        for kind, pixels in shown.tiles(index, edge):
            found += kind
            if pixels is not None:
                row, column = divmod(place, columns)
                sheet[row * edge : (row + 1) * edge, column * edge : (column + 1) * edge] = pixels
            place += 1
        kinds.append(found)
    file = BytesIO()
    to_picture(sheet).save(file, "WEBP", quality=85, method=1)
    return kinds, file.getvalue()


def _write_script(path: Path, statement: str, value: Any) -> None:
    """A script that hands over a value; ASCII, so that no encoding is in question."""
    path.write_text(statement % json.dumps(value, separators=(",", ":")) + ";\n", encoding="ascii")


def _page(part: Part[GeneratedOutput], shown: Shown, classes: Sequence[Sequence[Any]]) -> str:
    record, total, count = part.record, len(shown.source), len(shown.indices)
    about = f"Generated views: {record.result.views:,}, of objects: {record.result.objects:,}."
    if (draws := record.configuration.get("samples_per_view", 1)) > 1:
        about += f" Below, each of the {draws} draws of an object is one."
    if count < total:
        about += (
            f" Shown are {count:,} of {total:,}, at even distances: a gallery has {MOST_PICTURES:,} pictures at most."
        )
    return render_template(
        "gallery.html",
        title=f"Generated views: {part.label}",
        about=about,
        record=record,
        skipped=record.skipped[:SKIPPED_SHOWN],
        reasons=_reasons(record),
        classes=classes,
        views=shown.views,
        has_given=shown.given is not None or record.configuration.get("include_known", False),
    )


def _reasons(record: GeneratedOutput) -> list[tuple[str, int]]:
    """Why files were skipped, the most frequent reason first."""
    counts: dict[str, int] = {}
    for entry in record.skipped:
        counts[entry.reason] = counts.get(entry.reason, 0) + 1
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))
