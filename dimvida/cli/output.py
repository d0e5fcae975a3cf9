"""What commands leave behind: tables on the screen, result files."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dimvida.errors import InputError
from dimvida.files import atomic_write, require_writable_file

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

WIDTH = 80
_ASCII_BOX = "    \n    \n -- \n    \n    \n    \n    \n    \n"  # rich's SIMPLE_HEAD


def new_table(*headings: str, title: str = "", **options: Any) -> Table:
    """An empty table in the one style of all commands, as wide as its title; ``options`` are rich's."""
    from rich import box
    from rich.table import Table

    look = {
        "box": box.Box(_ASCII_BOX, ascii=True) if console().options.ascii_only else box.SIMPLE_HEAD,
        "padding": (0, 1, 0, 0),
        "pad_edge": False,
        "title_justify": "left",
    }
    if title:  # a title is wrapped at the width of its table
        look["min_width"] = min(len(title), WIDTH)
    return Table(*headings, title=title or None, title_style="", **look | options)


def console() -> Console:
    """Where tables are printed, as wide as the narrowest terminal."""
    from rich.console import Console

    return Console(width=WIDTH, highlight=False)


def plus_minus() -> str:
    """``±``, or what stands for it where standard output has no such character."""
    try:
        "±".encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return "+-"
    return "±"


def write_json(path: Path, result: dict[str, Any]) -> None:
    """Write a command's result for ``--json``.

    Raises:
        InputError: The file cannot be written.
    """
    try:
        atomic_write(path, json.dumps(result, indent=1) + "\n")
    except OSError as error:
        raise InputError(f"--json {path}: cannot be written ({error.strerror or error})") from error


def require_writable(option: str, path: Path | None) -> None:
    """Raise now, rather than after long work, unless a result file can be written; nothing where none is asked for.

    Raises:
        InputError: It cannot.
        DimvidaError: The disk is full or fails.
    """
    if path is not None:
        require_writable_file(option, path)
