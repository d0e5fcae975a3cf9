"""Where the data are that a path names: the objects in the package for "sample", and "~" for the home folder.

assets/sample/single/<class>/<name>__front.png
assets/sample/true/<class>/<name>/<view>.png
"""

from __future__ import annotations

from pathlib import Path

from dimvida.errors import InputError

NAME = "sample"
_FOLDER = Path(__file__).parents[1] / "assets" / "sample"


def locate(path: str | Path, *, to_complete: bool = False) -> Path:
    """The folder or file that a path means.

    ``sample`` means the objects in the package wherever no file or folder has that name: all their views, or one of
    each if they are ``to_complete``.

    Raises:
        InputError: There is no such home folder, or the installation lacks its sample.
    """
    path = Path(path)
    if is_sample(path):
        return sample_input() if to_complete else sample_truth()
    if str(path).startswith("~") and not path.exists():
        try:
            return path.expanduser()
        except RuntimeError as error:
            raise InputError(f"{path}: no such home folder ({error})") from error
    return path


def is_sample(path: str | Path) -> bool:
    """Whether a path means the objects in the package."""
    return str(path) == NAME and not Path(path).exists() and not Path(path).is_symlink()


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
        raise InputError(f"{NAME}: this installation lacks {folder}; install the package again")
    return folder
