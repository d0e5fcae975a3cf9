"""What a report says, free of how it is written down: sections of blocks, all text plain.

The writers (page, Markdown) do the escaping, so nothing here may be marked up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dimvida.report.reading import Part, Record
from dimvida.results.charts import SIZE, Chart, render_svg
from dimvida.results.tables import Table


@dataclass(frozen=True, slots=True)
class Text:
    """A paragraph of plain text."""

    text: str


@dataclass(frozen=True, slots=True)
class Note:
    """A remark that stands out: ``info``, ``warning``, or ``missing`` with the command that makes what is missing."""

    text: str
    kind: str = "info"
    command: str = ""


@dataclass(frozen=True, slots=True)
class Heading:
    """Begins a part of a section."""

    text: str


@dataclass(frozen=True, slots=True)
class Matrix:
    """A confusion matrix: counts, true classes in rows, predicted ones in columns."""

    caption: str
    names: Sequence[str]
    counts: Sequence[Sequence[int]]

    def shares(self) -> list[list[float]]:
        """Each count as a part of its row, 0 to 1."""
        return [[count / max(sum(row), 1) for count in row] for row in self.counts]


@dataclass(frozen=True, slots=True)
class Matrices:
    """Matrices to be compared, side by side where there is room."""

    matrices: Sequence[Matrix]


@dataclass(frozen=True, slots=True)
class Illustration:
    """A picture with its caption.

    Attributes:
        name: Name of its file, unique in the report.
        data: PNG or SVG, as the name's suffix says.
        alternative: What it shows, for those who cannot see it.
        caption: Text below it.
        size: Width and height in pixels.
    """

    name: str
    data: bytes
    alternative: str
    caption: str
    size: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Gallery:
    """Pictures side by side where there is room; ``wide`` ones are shrunk less before they scroll."""

    pictures: Sequence[Illustration]
    wide: bool = False


@dataclass(frozen=True, slots=True)
class Lines:
    """Lines to copy, such as commands, under a caption."""

    caption: str
    lines: Sequence[str]


@dataclass(frozen=True, slots=True)
class Link:
    """The way to another page beside the report; its address holds letters, digits, dots, dashes and slashes only."""

    text: str
    address: str


Block = Text | Link | Note | Heading | Table | Matrices | Gallery | Lines


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the report; ``key`` is its anchor."""

    key: str
    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True, slots=True)
class Document:
    """A whole report."""

    title: str
    introduction: str
    sections: Sequence[Section]


def section_by_run(
    key: str,
    title: str,
    parts: Sequence[Part[Record]],
    blocks_of: Callable[[Part[Record]], Sequence[Block]],
    missing: Block,
    about: Text | None = None,
) -> Section:
    """What there is of every run, under its label if there are several; else what would make it."""
    blocks: list[Block] = []
    for part in parts:
        found = blocks_of(part)
        blocks += [Heading(part.label)] if found and len(parts) > 1 else []
        blocks += found
    return Section(key, title, [*([about] if about else []), *blocks] if blocks else [missing])


def gallery(charts: Sequence[Chart]) -> Gallery:
    """Charts side by side."""
    return Gallery([
        Illustration(f"{chart.name}.svg", render_svg(chart), chart.described(), chart.caption, SIZE) for chart in charts
    ])  # fmt: skip
