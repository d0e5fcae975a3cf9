"""What a report says, free of how it is written down: sections of blocks, all text plain.

The writers (page, Markdown) do the escaping, so nothing here may be marked up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Text:
    """A paragraph."""

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
class Cell:
    """A table's cell: a value, and in small print its uncertainty or number."""

    text: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Column:
    """A table's column.

    Attributes:
        title: Its heading.
        group: A heading over it and its neighbours of the same group.
        quoted: Whether its figures are somebody else's.
        numeric: Whether it is aligned as numbers are.
    """

    title: str
    group: str = ""
    quoted: bool = False
    numeric: bool = True

    @property
    def heading(self) -> str:
        """The title with its group, for where it stands alone."""
        return f"{self.group}: {self.title}" if self.group else self.title


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of cells; the first cell of a row names it."""

    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]

    def groups(self) -> list[tuple[str, int, bool]]:
        """Headings over columns: (text, number of columns, quoted); empty if no column has one."""
        if not any(column.group for column in self.columns):
            return []
        merged: list[tuple[str, int, bool]] = []
        for column in self.columns:
            if merged and merged[-1][0] == column.group:
                merged[-1] = (column.group, merged[-1][1] + 1, column.quoted)
            else:
                merged.append((column.group, 1, column.quoted))
        return merged


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
class Picture:
    """A picture.

    Attributes:
        name: Of its file, unique in the report.
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
class Pictures:
    """Pictures side by side where there is room; ``wide`` ones are shrunk less before they scroll."""

    pictures: Sequence[Picture]
    wide: bool = False


@dataclass(frozen=True, slots=True)
class Lines:
    """Lines to copy, such as commands, under a caption."""

    caption: str
    lines: Sequence[str]


Block = Text | Note | Heading | Table | Matrices | Pictures | Lines


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
    sections: Sequence[Section] = field(default_factory=tuple)
