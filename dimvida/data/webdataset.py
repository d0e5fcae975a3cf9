"""WebDataset shards as others write them: tar files whose members of one key are one sample.

    000012.jpg, 000012.cls, 000012.json        one picture, its class (a number or a name), and what else is said of it
    000012.front.png, 000012.left.png          the views of one object

A key is a member's name up to the first dot behind its last folder. Only images, ``.cls`` and ``.json`` are looked at.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from dimvida.data.cameras import place_cameras
from dimvida.data.columns import Columns
from dimvida.data.image_files import IMAGE_SUFFIXES, is_image_name
from dimvida.data.images import decode_image
from dimvida.data.names import (
    CANONICAL_VIEWS,
    check_view_name,
    composed,
    counted,
    is_text,
    may_be_in_id,
    split_of_file,
    unsafe_name,
)
from dimvida.data.source import MultiViewSource, ViewImage, index_objects
from dimvida.data.survey import tell_beside
from dimvida.data.tar_file import TarMember, member_location, read_member, tar_members
from dimvida.data.tree import FileTree, files_below
from dimvida.data.zip_tree import ZipTree
from dimvida.errors import InputError

_MOST_TOLD = 2**20  # bytes of JSON, or of a class, about a sample


def open_webdataset(tree: FileTree, split: str | None, view: str | None, columns: Columns) -> MultiViewSource | None:
    """The set of all tar files in a tree; None where there are none, or images beside them, which are the data then.

    Args:
        tree: The folder or archive that has the tar files.
        split, view, columns: The split to keep, the view of images that name none, and which columns to read; see
            ``open_source``. Columns are fields of the JSON; ``image`` are suffixes, such as ``jpg`` or ``front.png``,
            of those images that are read.

    Raises:
        InputError: A tar file is damaged, or what it says contradicts itself.
    """
    names = [] if isinstance(tree, ZipTree) else files_below(tree, (".tar",))
    if not names or files_below(tree, IMAGE_SUFFIXES):
        return None
    source = WebDatasetSource(tree, names, split, view, columns)
    place_cameras(source, tree, tell_beside(source, tree, names).others)
    return source


class _Picture(NamedTuple):
    """A picture, and whether a model made it."""

    member: TarMember
    generated: bool


class WebDatasetSource(MultiViewSource):
    """Objects in tar files; their members are read by position."""

    def __init__(self, tree: FileTree, names: list[str], split: str | None, view: str | None, columns: Columns) -> None:
        """Index the tar files; what is said is that of ``open_webdataset``."""
        self._tree, self._view, self._columns = tree, view, columns
        self._passed_over: dict[str, list[str]] = {}
        objects: dict[tuple[str, str, str], dict[str, _Picture]] = {}
        for name in names:
            for key, its_view, picture in self._pictures(name):
                other = objects.setdefault(key, {}).setdefault(its_view, picture)
                if other is not picture:
                    raise InputError(
                        f"{member_location(tree, other.member)} and {self._locate(picture)}: both are view "
                        f"{its_view!r} of object {key[2]!r}"
                    )
        notes = [
            f"{counted(len(found), 'member')} passed over, {reason} (first: {found[0]})"
            for reason, found in self._passed_over.items()
        ]
        if not objects:
            raise InputError(f"{tree.path}: no images in its tar files; {'; '.join(notes) or 'they are empty'}")
        super().__init__(tree.path, "webdataset", *index_objects(tree.path, objects.items(), split), notes)

    def _pictures(self, name: str) -> Iterator[tuple[tuple[str, str, str], str, _Picture]]:
        """``(split, class, object)``, the view and the place of each picture of a tar file."""
        split = split_of_file(name)
        for key, members in self._samples(name):
            fields, number = self._fields(members), self._class(members)
            views = fields.get("views") if isinstance(fields.get("views"), dict) else {}  # as our own shards have it
            for suffix, member in members.items():
                if suffix in ("cls", "json"):
                    continue
                where = member_location(self._tree, member)
                part, _, kind = suffix.rpartition(".")
                if self._columns.image and not {suffix, part, kind} & {*self._columns.image}:
                    self._passed_over.setdefault("not among the images that were asked for", []).append(where)
                    continue
                told = {**fields, **views[part]} if isinstance(views.get(part), dict) else fields
                if (suffix,) == self._columns.image and self._view_is_told(told, where):
                    part = ""  # it was asked for as the image of each sample, and not as a view
                class_name, object_name, view = self._names(key, part, told, number, where)
                yield (split, class_name, object_name), view, _Picture(member, told.get("kind") == "generated")

    def _view_is_told(self, fields: Mapping[str, Any], where: str) -> bool:
        return self._view is not None or _text(fields, self._columns.find("view", fields, where), where) is not None

    def _samples(self, name: str) -> Iterator[tuple[str, dict[str, TarMember]]]:
        """The samples of a tar file: key, and members by what follows it."""
        samples: dict[str, dict[str, TarMember]] = {}
        for member in tar_members(self._tree, name):
            folder, slash, base = member.name.removeprefix("./").rpartition("/")
            stem, _, suffix = base.partition(".")
            if is_image_name(base) or suffix.lower() in ("cls", "json"):
                sample = samples.setdefault(composed(folder + slash + stem), {})
                if sample.setdefault(suffix.lower(), member) is not member:
                    raise InputError(f"{member_location(self._tree, member)}: its sample has two members of this kind")
            else:
                where = member_location(self._tree, member)
                self._passed_over.setdefault("neither picture, class nor JSON", []).append(where)
        yield from samples.items()

    def _fields(self, members: Mapping[str, TarMember]) -> dict[str, Any]:
        if "json" not in members:
            return {}
        where = member_location(self._tree, members["json"])
        if members["json"].size > _MOST_TOLD:
            raise InputError(f"{where}: has more than the limit of {_MOST_TOLD} bytes")
        try:
            fields = json.loads(read_member(self._tree, members["json"]))
        except (ValueError, RecursionError) as error:
            raise InputError(f"{where}: not JSON ({error})") from None
        if not isinstance(fields, dict):
            raise InputError(f"{where}: not a JSON object")
        return fields

    def _class(self, members: Mapping[str, TarMember]) -> str | None:
        if "cls" not in members:
            return None
        where = member_location(self._tree, members["cls"])
        if members["cls"].size > _MOST_TOLD:
            raise InputError(f"{where}: has more than the limit of {_MOST_TOLD} bytes")
        try:
            return _part(read_member(self._tree, members["cls"]).decode("utf-8-sig").strip(), where)
        except UnicodeDecodeError:
            raise InputError(f"{where}: holds bytes that are no text (UTF-8)") from None

    def _names(
        self, key: str, part: str, fields: Mapping[str, Any], number: str | None, where: str
    ) -> tuple[str, str, str]:
        """Class, object and view of a picture.

        The view is a part of its own of the name, a field of the JSON, the end of the key, or that of all; the class a
        field of the JSON, what ``.cls`` says, or the last folder.
        """
        if unsafe_name(key) or not key.strip("/ .") or not is_text(key):
            raise InputError(f"{where}: {key!a} cannot be the key of a sample")
        told = {
            what: _text(fields, self._columns.find(what, fields, where), where) for what in ("view", "class", "object")
        }
        *folders, stem = key.split("/")
        if part or told["view"] is not None:
            view = part or told["view"]
        elif "__" in stem.strip("_"):
            stem, _, view = stem.rpartition("__")
        elif stem in CANONICAL_VIEWS and folders:
            view, stem = stem, folders.pop()
        elif self._view is not None:
            view = self._view
        else:
            raise InputError(
                f"{where}: which view is it? Give --view NAME for all images, --column view=NAME for a field of their "
                "JSON, or names like <key>.<view>.png or <key>__<view>.png"
            )
        view = composed(view)
        check_view_name(view, where)
        label = number if told["class"] is None else _part(told["class"], where)
        if folders and label in (None, folders[-1]):
            label = folders.pop()
        name = "_".join([*folders, stem])
        if told["object"] is not None:
            name = composed(told["object"]).removeprefix(f"{label}/")
            if not name.strip("/ .") or not may_be_in_id(name):
                raise InputError(f"{where}: {name[:80]!a} cannot be the name of an object")
            name = name.replace("/", "_")
        return label or "", name, view

    def _read(self, file: _Picture) -> ViewImage:
        return decode_image(read_member(self._tree, file.member), self._locate(file))

    def _sha256(self, file: _Picture) -> str:
        return hashlib.sha256(read_member(self._tree, file.member)).hexdigest()

    def _locate(self, file: _Picture) -> str:
        return member_location(self._tree, file.member)

    def _kind(self, file: _Picture) -> str:
        return "generated" if file.generated else "real"


def _text(fields: Mapping[str, Any], name: str | None, where: str) -> str | None:
    value = None if name is None else fields.get(name)
    if value is None or (isinstance(value, str) and is_text(value)):
        return value
    if type(value) is int:  # True is an int for Python
        return str(value)
    raise InputError(f"{where}: {name!r} in its JSON is {str(value)[:40]!a}, neither text nor a whole number")


def _part(name: str, where: str) -> str:
    if "/" in name or not may_be_in_id(name):
        raise InputError(f"{where}: {name[:80]!a} cannot be the name of a class")
    return composed(name)
