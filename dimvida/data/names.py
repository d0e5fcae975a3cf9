"""Names of objects, views and splits: which are allowed, in which order they come, and how messages count things."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from pathlib import Path

from dimvida.errors import InputError

CANONICAL_VIEWS = ("front", "right", "back", "left")
VIEW_NAME_LIMIT = 48
"""Most bytes of a view's name, which has to fit into file names beside an object's."""
UNLABELED = "unlabeled"
"""What stands for the class of an object without one, in names of files and on pages."""

_SPLIT_FAMILIES = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing", "eval", "evaluation"),
}
_NUMBERED_FILE = re.compile(r"(\w[\w.]*)-\d{5}-of-\d{5}")
_SPLIT_ENDING = re.compile(r"[ _.-]?(set|data|split|images?|imgs?|\d{1,4})?")


def object_id(split: str, class_name: str, name: str) -> str:
    """``<split>/<class>/<name>`` with empty parts left out."""
    return "/".join(part for part in (split, class_name, name) if part)


def check_view_name(view: str, where: str) -> None:
    """Raise InputError unless ``view`` can be part of a file name, ``<object>__<view>.png``, and of a list of views.

    Every view that is read, trained on or generated has such a name.
    """
    if len(view.encode(errors="surrogatepass")) > VIEW_NAME_LIMIT:  # a lone surrogate is refused below
        raise InputError(
            f"{where}: {view[:VIEW_NAME_LIMIT]!r}... cannot name a view; use at most {VIEW_NAME_LIMIT} bytes"
        )
    if not re.fullmatch(r"[\w. +-]*\w[\w. +-]*", view) or view != view.strip(" ."):
        raise InputError(f"{where}: {view!r} cannot name a view; use letters, digits, '-', '_' or '.'")
    if view.startswith("_") or "__" in view:
        raise InputError(f"{where}: {view!r} cannot name a view; '__' separates objects and views in file names")


def order_views(names: Iterable[str]) -> tuple[str, ...]:
    """Distinct view names: front, right, back, left first, then the others in natural order."""
    names = set(names)
    others = sorted(names - set(CANONICAL_VIEWS), key=natural_key)
    return (*(name for name in CANONICAL_VIEWS if name in names), *others)


def split_family(name: str) -> str | None:
    """ "train", "val" or "test" for the usual names of such splits in any case ("Training", "val2017"), else None."""
    for family, words in _SPLIT_FAMILIES.items():
        # The longest word first: "testing" is not "test" and something else.
        for word in sorted(words, key=len, reverse=True):
            if name.lower().startswith(word) and _SPLIT_ENDING.fullmatch(name.lower(), len(word)):
                return family
    return None


def split_of_file(name: str) -> str:
    """The split that the name of a file of many objects tells, as ``datasets`` finds it; "" where it tells none.

    ``data/train-00000-of-00004.parquet`` is of the split ``train`` whatever stands in its place; else a folder or a
    part of the name has to be a usual one, as in ``test/0000.parquet`` or ``shapes_val.tar``.
    """
    *folders, base = composed(name).split("/")
    if match := _NUMBERED_FILE.match(base):
        return match[1]
    for folder in folders:
        if split_family(folder):
            return folder
    words = {word for family in _SPLIT_FAMILIES.values() for word in family}
    return next((part for part in re.split(r"[-._ 0-9]+", base.partition(".")[0]) if part.lower() in words), "")


def order_splits(names: Iterable[str]) -> tuple[str, ...]:
    """Distinct splits: those of training, of validation and of test first, then the others in natural order."""
    order = [*_SPLIT_FAMILIES, None]
    return tuple(sorted(set(names), key=lambda name: (order.index(split_family(name)), natural_key(name))))


def check_split(path: Path | str, split: str | None, present: Iterable[str]) -> None:
    """Raise InputError, naming the splits there are, unless ``split`` is None or one of them."""
    present = sorted({name for name in present if name})
    if split is None or split in present:
        return
    if not present:
        raise InputError(f"{path}: has no splits, so no split {split!r}; leave out --split")
    raise InputError(f"{path}: has no split {split!r}; it has {', '.join(present)}")


def composed(name: str) -> str:
    """A name in Unicode's composed form (NFC).

    Systems store the same letters differently: macOS often writes a letter and its accent as two characters. Ids,
    and with them the noise of generated views, must not depend on where a data set was packed.
    """
    return unicodedata.normalize("NFC", name)


def is_text(name: str) -> bool:
    """Whether a name can be written as UTF-8: lone surrogates, which JSON, tar and file systems can hold, cannot."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def unsafe_name(name: str) -> str | None:
    """Why a relative name from an archive or a list may not be used, or None if it may."""
    if name.startswith("/") or re.match("[A-Za-z]:", name):
        return "is an absolute path"
    if "\\" in name or "\0" in name:
        return "has a backslash or a zero byte in its name"
    if ".." in name.split("/"):
        return "leaves its folder"
    return None


def may_be_in_id(name: str) -> bool:
    """Whether a text that names a class or an object, inside of a file, may be a part of ids.

    It is no name of a file, so it may hold what those of some systems may not: ``a: b``, a backslash.
    """
    return is_text(name) and "\0" not in name and not name.startswith("/") and ".." not in name.split("/")


def natural_key(text: str) -> tuple[tuple[int, int, str], ...]:
    """Sort key that counts: ``view2`` comes before ``view10``."""
    key = []
    for part in re.findall("[0-9]+|[^0-9]+", text):
        digits = part.lstrip("0")
        # Numbers compare by length and then as text, because int() refuses very long ones.
        key.append((0, len(digits), digits) if part[0] in "0123456789" else (1, 0, part))
    return (*key, (-1, 0, text))


def counted(count: int, noun: str) -> str:
    """ "1 image", "2 images"."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def byte_size(count: float) -> str:
    """A number of bytes with its unit, as ``17 MiB``."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB" if count < 1024 else f"{count / 1024:.1f} TiB"


def input_lines(notes: Mapping[str, tuple[int, str]], left_out: Mapping[str, int]) -> list[str]:
    """What became of an input, a line for each kind.

    Args:
        notes: What is unusual about images, as how they were converted: text -> (how many, the first one's file).
        left_out: Why objects were left out: reason -> how many.
    """
    lines = [f"{text}: {counted(count, 'image')} (first: {first})" for text, (count, first) in notes.items()]
    return lines + [f"{counted(count, 'object')} left out: {reason}" for reason, count in left_out.items()]
