"""How a shard is stored: a module per form, behind one small interface (``base``).

A form is called as its module, which names its writer as ``WRITER``.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dimvida.generation.formats.base import ShardWriter
    from dimvida.generation.storage import Place

    FORMATS: dict[str, type[ShardWriter]]

_SHARED = ("base", "columns")  # the modules here that are no form
NAMES = tuple(sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name not in _SHARED))
"""Of all forms; ``FORMATS`` has their writers."""


def remove_shard(folder: Place, stem: str) -> None:
    """Remove everything that any form's writer may have left of a shard, its stats file first."""
    (folder / f"{stem}.json").unlink(missing_ok=True)
    for writer in _writers().values():
        if writer.takes_urls or isinstance(folder, Path):
            writer.remove(folder, stem)


@functools.cache
def _writers() -> dict[str, type[ShardWriter]]:
    return {name: importlib.import_module(f"{__name__}.{name}").WRITER for name in NAMES}


def __getattr__(name: str) -> dict[str, type[ShardWriter]]:
    if name == "FORMATS":  # imported where it is asked for: --help names the forms, and needs no writer
        return _writers()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
