"""What made a result: the command line and the versions of what ran."""

from __future__ import annotations

import platform

import typer


def command_line(context: typer.Context) -> list[str]:
    """The program's name and its arguments as they were given."""
    return ["dimvida", *(context.obj or [])]


def software_versions() -> dict[str, str]:
    """Versions of the packages that numbers depend on, of Python and of the system; no names of hosts or users."""
    import torch
    import torchvision

    from dimvida._version import __version__

    return {
        "dimvida": __version__,
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
    }
