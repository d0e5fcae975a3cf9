"""Which columns of a table say what: its images, and their views, classes and objects.

The same words name the fields of the JSON in WebDataset shards.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dimvida.data.names import check_view_name, composed
from dimvida.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa

_USUAL = {
    "image": ("image", "img", "picture", "png", "jpg"),
    "view": ("view", "view_name", "pose"),
    "class": ("class", "label", "class_name", "category"),
    "object": ("object", "object_id", "key", "source"),
}


@dataclass(frozen=True)
class Columns:
    """The columns that somebody named; the others are found by their usual names.

    Attributes:
        image: Those of the images. Several are one for each view, and called after the views.
        view: That of the view's name: each row is one view.
        label: That of the class.
        object: That of the object's name; rows which have it in common are views of one object.
    """

    image: tuple[str, ...] = ()
    view: str | None = None
    label: str | None = None
    object: str | None = None

    @property
    def named(self) -> bool:
        """Whether any is named."""
        return self != Columns()

    def find(self, what: str, present: Iterable[str], where: str = "") -> str | None:
        """The column of ``view``, ``class`` or ``object`` among those that are there; None where there is none.

        ``where`` is what lacks one that was named, if not the whole set.

        Raises:
            InputError: It was named, and is not there.
        """
        present = list(present)
        named = {"view": self.view, "class": self.label, "object": self.object}[what]
        if named is None:
            return next((name for name in _USUAL[what] if name in present), None)
        if named not in present:
            raise InputError(
                f"--column {what}={named}: there is no such column{where and f' in {where}'}; there are "
                f"{', '.join(present) or 'none'}"
            )
        return named


def parse_columns(texts: Sequence[str] | None) -> Columns:
    """``["image=picture", "view=pose"]`` as columns; ``image`` may come several times.

    Raises:
        InputError: Something else than image, view, class or object, or one of the others twice.
    """
    found: dict[str, list[str]] = {}
    for text in texts or ():
        what, separator, name = text.partition("=")
        if what not in _USUAL or not separator or not name:
            raise InputError(f"--column {text}: give {', '.join(_USUAL)} and the name of a column, as in view=pose")
        if what in found and (what != "image" or name in found[what]):
            raise InputError(f"--column {text}: {what} is {found[what][0]} already")
        found.setdefault(what, []).append(name)
    one = {what: names[0] for what, names in found.items()}
    return Columns(tuple(found.get("image", ())), one.get("view"), one.get("class"), one.get("object"))


@dataclass(frozen=True)
class Layout:
    """What the columns of one set say.

    Attributes:
        images: The columns of the images, each with its view; where each row is a view, the one column with None.
        view, label, object: The columns of these, where there are such.
        kind: The column that says "real" or "generated".
        draw: The column that numbers the draws of an output without keys.
        keys: Whether objects are called by the keys of an output, a folder of the class and a name.
        classes: The names that whole numbers stand for, by column.
    """

    images: Mapping[str, str | None]
    view: str | None
    label: str | None
    object: str | None
    kind: str | None
    draw: str | None
    keys: bool
    classes: Mapping[str, tuple[str, ...]]

    @property
    def texts(self) -> list[str]:
        """The columns that are read when the set is opened."""
        return [name for name in (self.view, self.label, self.object, self.kind, self.draw) if name is not None]


def image_columns(schema: pa.Schema, asked: Columns) -> list[str]:
    """The columns that can hold image files: what ``datasets`` calls images, else bytes, bare or beside a path.

    Bare bytes that are asked for as something else, or are usually, are text as some writers have it.
    """
    import pyarrow.types as types

    told = [name for name, feature in _features(schema).items() if feature.get("_type") == "Image"]
    if told := [name for name in told if name in schema.names]:
        return told
    usual = {name for what in ("view", "class", "object") for name in _USUAL[what]}
    texts = {asked.view, asked.label, asked.object, *usual} - {*asked.image}

    def is_bytes(kind: pa.DataType) -> bool:
        return types.is_binary(kind) or types.is_large_binary(kind) or str(kind) == "binary_view"

    def holds_files(field: pa.Field) -> bool:
        if types.is_struct(field.type):
            return any(part.name == "bytes" and is_bytes(part.type) for part in field.type)
        return is_bytes(field.type) and field.name not in texts

    return [field.name for field in schema if holds_files(field)]


def make_layout(schema: pa.Schema, asked: Columns, where: str) -> Layout | None:
    """What the columns say; None where none of them holds images, and nobody named one.

    Args:
        schema: The columns, with what ``datasets`` says of them.
        asked: The columns that somebody named.
        where: What an error calls the set.

    Raises:
        InputError: A column that was named is not there, or several columns have images and nothing says which to take.
    """
    candidates = image_columns(schema, asked)
    absent = [name for name in asked.image if name not in candidates]
    if absent:
        there = f"those of {where} are {', '.join(candidates)}" if candidates else f"{where} has none"
        raise InputError(f"--column image={absent[0]}: no column of images; {there}")
    if not candidates:
        return None
    others = [name for name in schema.names if name not in candidates]
    view = asked.find("view", others)
    images = asked.image or tuple(candidates)
    if view is not None and len(images) > 1:
        usual = [name for name in _USUAL["image"] if name in images]
        if asked.image or not usual:
            raise InputError(
                f"{where}: has a column of views ({view}) and several of images ({', '.join(images)}); name the one of "
                "the images with --column image=NAME, or all that are views, and no view, where each is one"
                if not asked.image
                else f"--column image={images[1]}: {where} has a column of views ({view}), so one of images"
            )
        images = (usual[0],)
    views = {name: composed(name) if len(images) > 1 else None for name in images}
    for name, its_view in views.items():
        if its_view is not None:
            check_view_name(its_view, f"{where}, column {name}")
    named = asked.find("object", others)
    return Layout(
        images=views,
        view=view,
        label=asked.find("class", others),
        object=named,
        kind="kind" if "kind" in others else None,
        draw="draw" if named == "source" and "draw" in others else None,
        keys=named == "key" and {"kind", "source", "draw"} <= {*others},
        classes=_class_names(schema),
    )


def require_alike(schema: pa.Schema, first: pa.Schema, layout: Layout, where: str) -> None:
    """Raise InputError where a column that is read is there twice, is not in both, or says the same otherwise."""
    for name in (*layout.images, *layout.texts):
        if (count := schema.names.count(name)) > 1:
            raise InputError(f"{where}: has {count} columns called {name}; give each a name of its own")
        index = schema.get_field_index(name)
        if index < 0:
            raise InputError(
                f"{where}: has no column {name}, which files beside it have; it has {', '.join(schema.names)}"
            )
        kinds = schema.field(index).type, first.field(name).type
        if kinds[0] != kinds[1] or _class_names(schema).get(name) != layout.classes.get(name):
            raise InputError(
                f"{where}: its column {name} ({kinds[0]}) has other classes or another type than in files beside it "
                f"({kinds[1]}); give files that were written alike"
            )


def _class_names(schema: pa.Schema) -> dict[str, tuple[str, ...]]:
    """The names that whole numbers stand for, by column."""
    return {
        name: tuple(map(str, feature["names"]))
        for name, feature in _features(schema).items()
        if feature.get("_type") == "ClassLabel" and isinstance(feature.get("names"), list)
    }


def _features(schema: pa.Schema) -> dict[str, dict[str, Any]]:
    """What ``datasets`` writes about columns into a schema; nothing where it did not."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return {name: feature for name, feature in features.items() if isinstance(feature, dict)}
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError):
        return {}
