"""Where the data are that a path names: the objects in the package for "sample", and "~" for the home folder.

An output lies elsewhere: the pictures in it would be read as data the next time.

assets/sample/single/<class>/<name>__front.png
assets/sample/true/<class>/<name>/<view>.png
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from dimvida.errors import InputError
from dimvida.remote import url_of

NAME = "sample"
_FOLDER = Path(__file__).parents[1] / "assets" / "sample"


def locate(path: str | Path, *, to_complete: bool = False) -> Path | str:
    """The folder or file that a path means, or the URL that it is.

    ``sample`` means the objects in the package wherever no file or folder has that name: all their views, or one of
    each if they are ``to_complete``.

    Raises:
        InputError: There is no such home folder, or the installation lacks its sample.
    """
    if (url := url_of(path)) is not None:
        return url
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


def require_apart(source: Path | str, place: Path, option: str = "--out", *, around: bool = False) -> None:
    """Raise InputError where an output would be read as input the next time, or an input be part of an output.

    Links are followed, those of the input as far down as its classes and objects.

    Args:
        source: The input; a zip file may lie anywhere, and nothing is inside of a URL.
        place: The output folder or file, there or not.
        option: The option that named ``place``, for the message.
        around: Whether the output may lie around the input.
    """
    if isinstance(source, str) or not source.is_dir():  # a URL, or a file
        return
    output = place.resolve()
    for folder in (source, *_links(source, depth=2)):
        found = folder.resolve()
        inside = output != found and output.is_relative_to(found)
        if inside or output == found or (found.is_relative_to(output) and not around):
            where = "inside" if inside else "the same as" if output == found else "around"
            raise InputError(f"{option} {place}: is {where} the input {folder}; choose a place beside it")


def _links(folder: Path, depth: int) -> Iterator[Path]:
    """Links to folders in a folder and in those below it."""
    with suppress(OSError), os.scandir(folder) as entries:  # what cannot be listed is met when the input is opened
        for entry in entries:
            if entry.is_dir():
                if entry.is_symlink():
                    yield Path(entry.path)
                elif depth > 1:
                    yield from _links(Path(entry.path), depth - 1)


def _existing(folder: Path) -> Path:
    if not folder.is_dir():
        raise InputError(f"{NAME}: this installation lacks {folder}; install the package again")
    return folder
