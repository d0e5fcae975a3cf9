"""What ``dimvida generate`` checks of its options before any work."""

from __future__ import annotations

from pathlib import Path

from dimvida.errors import InputError
from dimvida.files import require_writable_file, require_writable_folder

SHEET_SUFFIXES = (".png", ".jpg")


def check_sheet(sheet: Path | None, rows: int) -> None:
    """Raise InputError for a sheet that could not be written at the end."""
    if rows < 1:
        raise InputError(f"--sheet-rows {rows}: must be at least 1")
    if sheet is None:
        return
    if sheet.suffix.lower() not in SHEET_SUFFIXES or sheet.is_dir():
        raise InputError(f"--sheet {sheet}: name a file that ends in {' or '.join(SHEET_SUFFIXES)}")
    if sheet.absolute().parent.is_dir():
        require_writable_file("--sheet", sheet)
    else:  # which is made
        require_writable_folder("--sheet", sheet.absolute().parent)


def check_member(shard: str | None, overwrite: bool, sheet: Path | None) -> None:
    """Raise InputError for options that members of an array job would do to each other."""
    if shard is not None and overwrite:
        raise InputError(
            f"--shard {shard}: --overwrite would remove what the others have done; remove the folder first"
        )
    if shard is not None and sheet is not None:
        raise InputError(f"--shard {shard}: has no --sheet; the same command without --shard draws it at the end")


def parse_batch(text: str) -> int | None:
    """Objects at a time; None for auto.

    Raises:
        InputError: It is neither a number nor auto.
    """
    if text == "auto":
        return None
    try:
        return int(text)
    except ValueError:
        raise InputError(f"--batch {text}: give a number or 'auto'") from None
