"""What is printed: streams that stop nobody, text that commands no terminal, notes, and tables 80 columns wide.

Readers go away, terminals know few characters, names hold commands. Everything that is printed goes through here,
whoever prints it.
"""

from __future__ import annotations

import codecs
import errno
import io
import os
import re
import select
import sys
import textwrap

TYPE_CHECKING = False  # that of typing, without its import: this comes before most of what a command needs
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, TextIO

    from rich.console import Console
    from rich.table import Table as RichTable

    from dimvida.results.tables import Column, Table, TableCell

WIDTH = 80
STAND_INS = {"±": "+-", "×": "x", "Ω": "Omega_", "é": "e"}
_ASCII_BOX = "    \n    \n -- \n    \n    \n    \n    \n    \n"  # rich's SIMPLE_HEAD

# Commands to a terminal, C0 and C1, and what turns the direction of text around, so that it reads as other text.
_COMMANDS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
# What rich writes: colours, a line up, erasing it, hiding the cursor.
_OF_RICH = re.compile("\x1b\\[[0-9;]*[mAK]|\x1b\\[\\?25[lh]|[\r\n\t]")
_GONE = (errno.EPIPE, errno.EIO, errno.ECONNRESET)  # nobody wants to see it any more

_quiet = False


def printable(text: str) -> str:
    """Text for one line of a terminal: what would command the terminal, or end the line, as ``\\u001b``."""
    return _COMMANDS.sub(lambda match: _escaped(match[0]), text)


def guard_streams() -> None:
    """Let standard output and error of this process take any text, and never raise."""
    for _ in range(3):  # what is closed would be the next file that is opened, and get what is printed
        handle = os.open(os.devnull, os.O_RDWR)
        if handle > 2:
            os.close(handle)
            break
    codecs.register_error("dimvida.escape", _escape_unknown)
    sys.stdout, sys.stderr = _guarded(1, sys.stdout), _guarded(2, sys.stderr)


def lost_output() -> str | None:
    """Why standard output is not complete, None if it is or if its reader went away."""
    outlet = getattr(sys.stdout, "outlet", None)
    sys.stdout.flush()
    failure = outlet.failure if outlet is not None else None
    return None if failure is None or failure.errno in _GONE else failure.strerror


def print_error(message: str) -> None:
    """The one line on standard error that a command ends with."""
    print("error: " + printable(" ".join(message.split())), file=sys.stderr)


def be_quiet(quiet: bool = True) -> None:
    """Whether this command line asked for no progress and no notes."""
    global _quiet
    _quiet = quiet


def is_quiet() -> bool:
    """Whether no progress and no notes are wanted."""
    return _quiet


def note(text: str, file: TextIO | None = None) -> None:
    """A line about what is unusual, by default on standard output; nothing where that is not asked for."""
    if not _quiet:
        print(f"note: {printable(text)}", file=file, flush=True)


def new_table(*headings: str, **options: Any) -> RichTable:
    """An empty table in the one style of all commands; ``options`` are rich's."""
    from rich import box
    from rich.table import Table

    look = {
        "box": box.Box(_ASCII_BOX, ascii=True) if console().options.ascii_only else box.SIMPLE_HEAD,
        "padding": (0, 1, 0, 0),
        "pad_edge": False,
    }
    return Table(*headings, **look | options)


def console() -> Console:
    """Where tables are printed, as wide as the narrowest terminal."""
    from rich.console import Console

    return Console(width=WIDTH, highlight=False)


def print_table(table: Table) -> None:
    """A table under its caption, with its notes below it."""
    from rich.text import Text  # not markup, whatever a class is called

    shown = new_table()
    for number, column in enumerate(table.columns):
        heading = Text(fitting(column.narrow or column.heading))
        names = not column.numeric and not any(" " in row[number].line for row in table.rows)  # stay whole
        shown.add_column(heading, justify="right" if column.numeric else "left", no_wrap=names)
    for row in table.rows:
        shown.add_row(*(Text(fitting(cell.line)) for cell in row))
    if table.caption:  # not as rich's title, which would be wrapped at the width of the columns
        print_wrapped(fitting(table.caption))
    console().print(shown)
    for line in table.notes:
        print_wrapped(fitting(line))


class RowPrinter:
    """Prints the rows of a table as they come, one by one, under its headings; every column has its ``width``."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self._columns = columns
        self._print([column.heading for column in columns])
        rule = "-" if console().options.ascii_only else "─"
        print(" " + rule * (sum(column.width for column in columns) + len(columns) - 1), flush=True)

    def add(self, row: Sequence[TableCell]) -> None:
        """Print a row."""
        self._print([cell.line for cell in row])

    def _print(self, texts: Sequence[str]) -> None:
        cells = (
            text.rjust(column.width) if column.numeric else text.ljust(column.width)
            for column, text in zip(self._columns, texts, strict=True)
        )
        print(fitting(f" {' '.join(cells)}".rstrip()), flush=True)


def print_note(text: str) -> None:
    """A wrapped note, where notes are wanted."""
    if not _quiet:
        print_wrapped(f"note: {text}")


def fitting(text: str) -> str:
    """The text with plain dashes, and stand-ins for characters that standard output does not have."""
    text = text.replace("–", "-").replace("−", "-")
    for character, stand_in in STAND_INS.items():
        try:
            character.encode(sys.stdout.encoding or "ascii")
        except UnicodeEncodeError:
            text = text.replace(character, stand_in)
    return text


def print_wrapped(text: str) -> None:
    """A paragraph, whose names and addresses stay whole."""
    lines = textwrap.wrap(text, WIDTH, subsequent_indent="  ", break_on_hyphens=False, break_long_words=False)
    print("\n".join(lines), flush=True)


class _Outlet(io.FileIO):
    """A descriptor; what cannot be written is dropped."""

    failure: OSError | None = None

    def write(self, data: bytes | memoryview) -> int:  # type: ignore[override]
        try:
            while (written := super().write(data)) is None:  # somebody made it non-blocking
                select.select([], [self], [])
            return written
        except OSError as error:
            self.failure = self.failure or error
            return len(data)


class _Text(io.TextIOWrapper):
    """A text stream whose text is made safe.

    Attributes:
        rich_proxied_file: What rich writes to in its place, whose own commands must get through.
    """

    def __init__(self, outlet: _Outlet, encoding: str, rich: bool = False) -> None:
        super().__init__(
            io.BufferedWriter(outlet), encoding, "dimvida.escape", "\n", line_buffering=True, write_through=True
        )
        self.outlet, self._rich = outlet, rich
        if not rich:
            self.rich_proxied_file = _Text(outlet, encoding, rich=True)

    def write(self, text: str) -> int:
        if not self._rich:
            return super().write("\n".join("\t".join(map(printable, line.split("\t"))) for line in text.split("\n")))
        # Between the commands of rich there is text, names among it.
        kept = 0
        parts = []
        for match in _OF_RICH.finditer(text):
            parts += [printable(text[kept : match.start()]), match[0]]
            kept = match.end()
        return super().write("".join([*parts, printable(text[kept:])]))


def _guarded(handle: int, stream: io.TextIOBase | None) -> _Text:
    if stream is not None:
        stream.flush()
    return _Text(_Outlet(handle, "w", closefd=False), getattr(stream, "encoding", None) or "utf-8")


def _escape_unknown(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    return "".join(map(_escaped, error.object[error.start : error.end])), error.end


def _escaped(character: str) -> str:
    # As in JSON, which is printed too and stays the same text by it.
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))
