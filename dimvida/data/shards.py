"""Objects out of numbered shards, as ``dimvida generate`` writes them beside image folders.

- WebDataset shards: ``shard-000012.tar`` with ``<key>.<view>.png`` and ``<key>.json``. Only images and JSON are ever
  looked at: members of any other kind, pickles for one, are passed over and counted.
- Array shards: ``shard-000012.npy``, uint8 ``[N, H, W, 3]`` or gray ``[N, H, W, 1]``, and ``shard-000012.jsonl`` with a
  line for each picture.
"""

from __future__ import annotations

import hashlib
import json
import re
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from dimvida.data.cameras import place_cameras
from dimvida.data.image_files import is_image_name
from dimvida.data.images import CHANNELS, PIXEL_LIMIT, decode_image, with_channels
from dimvida.data.names import check_split, check_view_name, counted, is_text, order_views, unsafe_name
from dimvida.data.source import MultiViewSource, RecentArrays, ViewImage, index_objects
from dimvida.data.survey import tell_beside
from dimvida.data.tar_file import TarMember, member_location, read_member, tar_members
from dimvida.data.tree import FileTree
from dimvida.data.zip_tree import ZipTree
from dimvida.errors import DimvidaError, InputError, UnreadableImage

_SHARD_NAME = re.compile(r"shard-\d{6,}\.(\w+)")
_MOST_MAPPED = 64  # arrays at a time, each of which keeps a file open


def open_shards(tree: FileTree, split: str | None) -> MultiViewSource | None:
    """The set of all shards in a folder, or None where there are none.

    Raises:
        InputError: There are shards of two forms, a shard is damaged, or there is a split to choose, which shards lack.
    """
    matches = [match for name in tree.children()[1] if (match := _SHARD_NAME.fullmatch(name)) and match[1] in _FORMS]
    if not matches or isinstance(tree, ZipTree):
        return None
    names, suffixes = [match[0] for match in matches], {match[1] for match in matches}
    if len(suffixes) > 1:
        raise InputError(
            f"{tree.path}: has shards of two forms, {' and '.join(sorted(suffixes))}; keep one in a folder"
        )
    source = _FORMS[suffixes.pop()](tree, names, split)
    place_cameras(source, tree, tell_beside(source, tree, names, "beside shards").others)
    return source


class StoredView(NamedTuple):
    """One picture of a shard.

    Attributes:
        key: ``<class>/<name>``, the same for the views of an object.
        view: Name of the view.
        class_name: "" without a class.
        kind: "real" or "generated".
        place: Where its picture is in the shard: what the form needs to read it.
    """

    key: str
    view: str
    class_name: str
    kind: str
    place: Any


class ShardSource(MultiViewSource):
    """Objects of all shards of a folder, in order."""

    form = ""

    def __init__(self, tree: FileTree, names: Iterable[str], split: str | None) -> None:
        """Index the shards.

        Args:
            tree: The folder that holds them.
            names: Their file names.
            split: They have none, so anything but None is refused.

        Raises:
            InputError: A shard is damaged, or has a view twice.
        """
        check_split(tree.path, split, ())
        self._tree = tree
        self._passed_over: dict[tuple[str, str], list[str]] = {}
        by_key: dict[str, dict[str, StoredView]] = {}
        for name in names:
            for stored in self._index(name):
                views = by_key.setdefault(stored.key, {})
                if views.setdefault(stored.view, stored) is not stored:
                    raise InputError(f"{tree.location(name)}: view {stored.view!r} of {stored.key} is there twice")
        notes = [
            f"{counted(len(found), noun)} passed over, {reason} (first: {found[0]})"
            for (noun, reason), found in self._passed_over.items()
        ]
        if not by_key:
            raise InputError(f"{tree.path}: no views in its shards; {'; '.join(notes) or 'they are empty'}")
        # The first view has the word where the views of an object differ in its class.
        objects = [
            (("", views[order_views(views)[0]].class_name, key.rpartition("/")[2]), views)
            for key, views in by_key.items()
        ]
        super().__init__(tree.path, self.form, *index_objects(tree.path, objects, None), notes)

    def _pass_over(self, noun: str, reason: str, where: str) -> None:
        """Have something that is not read counted in the notes."""
        self._passed_over.setdefault((noun, reason), []).append(where)

    @abstractmethod
    def _index(self, name: str) -> Iterable[StoredView]:
        """The pictures of one shard."""

    def _kind(self, file: StoredView) -> str:
        return file.kind


class TarShardSource(ShardSource):
    """Views in tar files; opened and read by position, never unpacked."""

    form = "webdataset"

    def _index(self, name: str) -> Iterator[StoredView]:
        images: dict[str, dict[str, TarMember]] = {}
        told: dict[str, dict[str, Any]] = {}
        for member in tar_members(self._tree, name):
            where = member_location(self._tree, member)
            folder, slash, file = member.name.rpartition("/")
            stem, _, extension = file.partition(".")
            key = folder + slash + stem
            if extension == "json":
                told[key] = _views_of_sample(read_member(self._tree, member), where)
            elif is_image_name(extension) and "." in extension:
                view = extension.rpartition(".")[0]
                if images.setdefault(key, {}).setdefault(view, member) is not member:
                    raise InputError(f"{where}: view {view!r} of {key} is there twice")
            elif is_image_name(member.name):
                self._pass_over("picture", "without a view in the name (<key>.<view>.png)", where)
            elif extension != "cls":  # the number of a class, for other programs
                self._pass_over("other member", "neither picture nor JSON", where)
        for key, views in images.items():
            for view, member in views.items():
                line = told.get(key, {}).get(view, {})
                yield stored_view(
                    key, view, line if isinstance(line, dict) else {}, member, member_location(self._tree, member)
                )

    def _read(self, file: StoredView) -> ViewImage:
        return decode_image(read_member(self._tree, file.place), self._locate(file))

    def _locate(self, file: StoredView) -> str:
        return member_location(self._tree, file.place)


class ArrayShardSource(ShardSource):
    """Views in arrays, which are mapped into memory and never read as a whole."""

    form = "npy"

    def __init__(self, tree: FileTree, names: Iterable[str], split: str | None) -> None:
        """Read the lists of these shards; see ``ShardSource``."""
        self._arrays = RecentArrays(partial(_map, tree), most_arrays=_MOST_MAPPED)
        super().__init__(tree, names, split)

    def _index(self, name: str) -> Iterator[StoredView]:
        told = name.removesuffix(".npy") + ".jsonl"
        lines = self._tree.location(told)
        try:
            texts = b"".join(self._tree.blocks(told)).splitlines()
        except UnreadableImage as error:
            raise InputError(f"{lines}: {error.reason}; it says what is in {name}") from None
        pictures = len(self._arrays.get(name))
        if len(texts) != pictures:
            raise InputError(f"{lines}: {len(texts)} lines for the {pictures} pictures in {name}")
        for index, text in enumerate(texts):
            where = f"{lines}, line {index + 1}"
            try:
                line = json.loads(text)
                key, view = str(line["key"]), str(line["view"])
            except (ValueError, KeyError, TypeError, RecursionError):
                raise InputError(f"{where}: not a line about a picture") from None
            yield stored_view(key, view, line, (name, index), where)

    def _read(self, file: StoredView) -> ViewImage:
        name, index = file.place
        try:
            array = self._arrays.get(name)
        except InputError as error:
            raise UnreadableImage(self._locate(file), str(error)) from error
        if index >= len(array):
            raise UnreadableImage(self._locate(file), "the array has become shorter")
        pixels = np.array(array[index], order="C")
        return with_channels(ViewImage(pixels, hashlib.sha256(pixels).hexdigest()), 3)

    def _locate(self, file: StoredView) -> str:
        name, index = file.place
        return f"{self._tree.location(name)}[{index}]"


_FORMS = {"tar": TarShardSource, "npy": ArrayShardSource}  # by the suffixes of their shards


def stored_view(key: str, view: str, line: Mapping[str, Any], place: Any, where: str) -> StoredView:
    """A picture by its name and by what its metadata say.

    Raises:
        InputError: The key, the view, the label or the kind cannot be one.
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


def _views_of_sample(data: bytes, where: str) -> dict[str, Any]:
    try:
        return dict(json.loads(data)["views"])
    except (ValueError, KeyError, TypeError, RecursionError):
        raise InputError(f"{where}: not the JSON of a sample") from None


def _map(tree: FileTree, name: str) -> np.ndarray:
    where = tree.location(name)
    try:
        # Not np.load, which would read other files than arrays too.
        array = np.lib.format.open_memmap(tree.local(name), mode="r").view(
            np.ndarray
        )  # of which parts are taken faster
    except (MemoryError, DimvidaError):
        raise
    except Exception as error:  # a damaged header raises almost anything
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise InputError(f"{where}: not a readable array ({reason}); generate or fetch it again") from error
    if array.dtype != np.uint8 or array.ndim != 4 or array.shape[3] not in CHANNELS:
        raise InputError(f"{where}: {array.dtype} {list(array.shape)}, not uint8 [N, H, W, 1 or 3]")
    if len(array) and not array.size:
        raise InputError(f"{where}: {list(array.shape)}, pictures without pixels")
    if array.shape[1] * array.shape[2] > PIXEL_LIMIT:
        raise InputError(f"{where}: pictures of more than the limit of {PIXEL_LIMIT} pixels")
    return array
