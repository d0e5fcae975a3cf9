"""Result files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dimvida.errors import InputError
from dimvida.files import atomic_write, require_writable_file


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
