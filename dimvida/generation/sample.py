"""The single-view sample in the package: pictures to try generation on, and the true views beside them.

assets/sample/single/<class>/<name>__front.png
assets/sample/true/<class>/<name>/<view>.png
"""

from __future__ import annotations

from pathlib import Path

from dimvida.errors import InputError

NAME = "sample"
_FOLDER = Path(__file__).parents[1] / "assets" / "sample"


def sample_input() -> Path:
    """Folder of the given views.

    Raises:
        InputError: The installation has none.
    """
    return _existing(_FOLDER / "single")


def sample_truth() -> Path:
    """Folder of all views of the same objects, as multi-view data.

    Raises:
        InputError: The installation has none.
    """
    return _existing(_FOLDER / "true")


def _existing(folder: Path) -> Path:
    if not folder.is_dir():
        raise InputError(f"--input {NAME}: this installation lacks {folder}; install the package again")
    return folder
