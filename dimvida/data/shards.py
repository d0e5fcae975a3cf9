"""Objects out of numbered shards, as ``dimvida generate`` writes them beside image folders.

What the two forms share: their files, and how pictures with a key, a view and a class become objects.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from dimvida.data.metadata import check_view_name
from dimvida.data.source import MultiViewSource, ObjectRecord, check_split, counted, object_id, order_views
from dimvida.data.tree import unsafe_name
from dimvida.errors import InputError

SHARD_NAME = re.compile(r"shard-\d{6,}\.(tar|npy)")


class StoredView(NamedTuple):
    """One picture of a shard.

    Attributes:
        key: ``<class>/<name>``, the same for the views of an object.
        view: Name of the view.
        class_name: "" without a class.
        kind: "real" or "generated".
        place: Where its shard has it.
    """

    key: str
    view: str
    class_name: str
    kind: str
    place: Any


class ShardSource(MultiViewSource):
    """Objects of all shards of a folder, in order."""

    form = ""

    def __init__(self, folder: Path, names: Iterable[str], *, split: str | None = None) -> None:
        """Index the shards.

        Args:
            folder: Where they are.
            names: Their file names.
            split: They have none, so anything but None is refused.

        Raises:
            InputError: A shard is damaged, or has a view twice.
        """
        check_split(folder, split, ())
        self._folder = folder
        self._other: dict[tuple[str, str], list[str]] = {}
        objects: dict[str, dict[str, StoredView]] = {}
        for name in names:
            for stored in self._index(folder / name):
                views = objects.setdefault(stored.key, {})
                if views.setdefault(stored.view, stored) is not stored:
                    raise InputError(f"{folder / name}: view {stored.view!r} of {stored.key} is there twice")
        view_names = order_views(view for views in objects.values() for view in views)
        records, files = [], []
        for key, views in objects.items():
            present = tuple(view for view in view_names if view in views)
            name, class_name = key.rpartition("/")[2], views[present[0]].class_name
            records.append(ObjectRecord(object_id("", class_name, name), name, class_name, "", present))
            files.append(tuple(views[view] for view in present))
        notes = [
            f"{counted(len(found), noun)} passed over, {reason} (first: {found[0]})"
            for (noun, reason), found in self._other.items()
        ]
        if not records:
            raise InputError(f"{folder}: no views in its shards; {'; '.join(notes) or 'they are empty'}")
        classes = [record.class_name for record in records]
        super().__init__(folder, self.form, view_names, classes, records, files, notes)

    def _pass_over(self, noun: str, reason: str, where: str) -> None:
        """Have something that is not read counted in the notes."""
        self._other.setdefault((noun, reason), []).append(where)

    @abstractmethod
    def _index(self, path: Path) -> Iterable[StoredView]:
        """The pictures of one shard."""

    def _kind(self, file: StoredView) -> str:
        return file.kind


def stored_view(key: str, view: str, line: Mapping[str, Any], place: Any, where: str) -> StoredView:
    """A picture by its name and by what its metadata say.

    Raises:
        InputError: They are malformed.
    """
    label, kind = line.get("label"), line.get("kind", "real")
    if unsafe_name(key) or not key or not is_text(key):
        raise InputError(f"{where}: {key!a} cannot be the key of an object")
    check_view_name(view, where)
    if label is not None and (not isinstance(label, str) or "/" in label or not is_text(label)):
        raise InputError(f'{where}: "label" is {str(label)[:40]!a}, not the name of a class')
    if kind not in ("real", "generated"):
        raise InputError(f'{where}: kind {str(kind)[:40]!a}; it is "real" or "generated"')
    return StoredView(key, view, label or "", kind, place)


def is_text(name: str) -> bool:
    """Whether a name can be written as UTF-8: lone surrogates, which JSON and tar files can hold, cannot."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
