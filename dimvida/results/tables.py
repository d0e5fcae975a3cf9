"""The one model of a table, which the terminal, the page and Markdown print.

All text is plain: whoever prints does the escaping, so nothing here may be marked up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class TableCell:
    """A value, and in small print what belongs to it.

    Attributes:
        text: The value as it is printed.
        detail: Its interval, deviation or number, below or behind it.
        margin: The same for a terminal, where a line is all there is; "" if that is ``detail``.
    """

    text: str
    detail: str = ""
    margin: str = ""

    @property
    def line(self) -> str:
        """All of it in one line."""
        return " ".join(filter(None, (self.text, self.margin or self.detail)))


@dataclass(frozen=True, slots=True)
class Column:
    """A table's column.

    Attributes:
        title: The column's heading.
        group: A heading over it and its neighbours of the same group.
        quoted: Whether its figures are somebody else's.
        numeric: Whether it is aligned as numbers are.
        narrow: The heading for a terminal; "" if that is ``title``.
        width: Characters in a terminal where rows are printed as they come; 0 where the rows are known before.
    """

    title: str
    group: str = ""
    quoted: bool = False
    numeric: bool = True
    narrow: str = ""
    width: int = 0

    @property
    def heading(self) -> str:
        """The title with its group, for where it stands alone."""
        return f"{self.group}: {self.title}" if self.group else self.title


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of cells; the first cell of a row names it.

    Attributes:
        caption: What the table shows, in a line above it.
        columns: As many as a row has cells.
        rows: Rows of cells, from top to bottom.
        notes: Lines below it.
    """

    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[TableCell]]
    notes: Sequence[str] = field(default_factory=tuple)

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


def text_column(title: str, width: int = 0) -> Column:
    """A column of words, aligned to the left."""
    return Column(title, numeric=False, width=width)


def plain_table(
    title: str, words: Sequence[str], numbers: Sequence[str], rows: Sequence[Sequence[str]], notes: Sequence[str] = ()
) -> Table:
    """A table of plain text in columns of words, then of numbers; rows may end early."""
    columns = [*map(text_column, words), *map(Column, numbers)]
    cells = [[TableCell(text) for text in [*row, *[""] * (len(columns) - len(row))]] for row in rows]
    return Table(title, columns, cells, notes)
