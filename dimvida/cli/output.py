"""What commands leave behind: result files, and what made them."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dimvida._version import __version__
from dimvida.errors import InputError
from dimvida.files import atomic_write

if TYPE_CHECKING:
    import typer


def command_line(context: typer.Context) -> list[str]:
    """The program's name and its arguments as they were given."""
    return ["dimvida", *(context.obj or [])]


def software_versions() -> dict[str, str]:
    """Versions of the packages that numbers depend on, of Python and of the system; no names of hosts or users."""
    import torch
    import torchvision

    return {
        "dimvida": __version__,
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
    }


def write_json(path: Path, result: Any) -> None:
    """Write a command's result for ``--json``, a declared one or plain values.

    Raises:
        InputError: The file cannot be written.
    """
    from dimvida.results.files import result_text

    try:
        atomic_write(path, result_text(result))
    except OSError as error:
        raise InputError(f"--json {path}: cannot be written ({error.strerror or error})") from error
