"""Some of a data set's objects: those of chosen classes, or the first ones."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from dimvida.data.source import MultiViewSource
from dimvida.errors import InputError


def of_classes(source: MultiViewSource, classes: Sequence[str] | None, *, keep_labels: bool = False) -> MultiViewSource:
    """The objects of some classes; all for None.

    Args:
        source: The data.
        classes: Their names.
        keep_labels: Keep the numbers that classes have in the whole set, instead of numbering those that are chosen.

    Raises:
        InputError: There is no such class, or no object of any.
    """
    if classes is None:
        return source
    for name in classes:
        if name not in source.classes:
            near = difflib.get_close_matches(name, source.classes, cutoff=0.5)
            told = f"did you mean {' or '.join(map(_quoted, near))}?" if near else _list(source.classes)
            raise InputError(f"--classes {_quoted(name)}: {source.path} has no such class; {told}")
    chosen = set(classes)
    kept = source.select(i for i, record in enumerate(source.records) if record.class_name in chosen)
    if not len(kept):
        names = ",".join(map(_quoted, classes))
        raise InputError(f"--classes {names}: no objects of these classes in {source.path}, as it is opened")
    if not keep_labels:
        kept.classes = tuple(name for name in source.classes if name in chosen)
    return kept


def first(source: MultiViewSource, limit: int | None) -> MultiViewSource:
    """The first objects of a source; all for None."""
    return source if limit is None or limit >= len(source) else source.select(range(limit))


def _list(classes: Sequence[str], shown: int = 20) -> str:
    if not classes:
        return "it has none"
    return f"it has {', '.join(map(_quoted, classes[:shown]))}{' and more' if len(classes) > shown else ''}"


def _quoted(name: str) -> str:
    """A name as ``--classes`` takes it among others."""
    if "," not in name and name == name.strip() and not name.startswith('"'):
        return name
    return '"' + name.replace('"', '""') + '"'
