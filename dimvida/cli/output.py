"""Result files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dimvida.errors import InputError


def write_json(path: Path, result: dict[str, Any]) -> None:
    """Write a command's result for ``--json``.

    Raises:
        InputError: The file cannot be written.
    """
    from dimvida.files import atomic_write

    try:
        atomic_write(path, json.dumps(result, indent=1) + "\n")
    except OSError as error:
        raise InputError(f"--json {path}: cannot be written ({error.strerror or error})") from error


def require_writable(option: str, path: Path | None) -> None:
    """Raise InputError now, rather than after long work, if there is no folder for a result file."""
    if path is not None and (path.is_dir() or not path.absolute().parent.is_dir()):
        raise InputError(f"{option} {path}: " + ("is a folder" if path.is_dir() else "its folder does not exist"))
