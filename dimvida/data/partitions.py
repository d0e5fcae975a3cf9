"""Partitions d, c and e of a data set: disjoint by object, stratified by class, seeded.

d trains the autoencoder and the diffusion model, c the classifiers, e evaluates them. Other choices of a data set's
objects are here too: those of some classes, the first ones.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dimvida.data.folder_tree import read_file
from dimvida.data.source import MultiViewSource, ObjectRecord
from dimvida.data.tree import READ_LIMIT
from dimvida.errors import InputError
from dimvida.files import atomic_write

SCHEMA = "dimvida-partitions/1"
PARTS = ("d", "c", "e")
CLASSES_SHOWN = 20  # names of classes in a message


@dataclass(frozen=True, slots=True)
class Partitions:
    """Object ids of each part, sorted, and how they were chosen.

    Attributes:
        d: Objects that the autoencoder and the diffusion model are trained on.
        c: Objects that classifiers are trained on.
        e: Objects that everything is evaluated on.
        fractions: Fractions of d, c and e in every class; they sum to 1.
        seed: Seed of the choice.
        source: Name of the data set, for people.
    """

    d: tuple[str, ...]
    c: tuple[str, ...]
    e: tuple[str, ...]
    fractions: tuple[float, float, float]
    seed: int
    source: str = ""

    def part(self, name: str) -> tuple[str, ...]:
        """The ids of part "d", "c" or "e"; InputError for another name."""
        if name not in PARTS:
            raise InputError(f"partition {name!r}: choose {', '.join(PARTS)}")
        return getattr(self, name)

    def digest(self) -> str:
        """Hex SHA-256 of which objects are in which part."""
        parts = json.dumps([sorted(self.part(part)) for part in PARTS])
        return hashlib.sha256(parts.encode()).hexdigest()


def make_partitions(
    records: Sequence[ObjectRecord],
    fractions: Sequence[float] = (0.6, 0.2, 0.2),
    seed: int = 0,
    source: str = "",
) -> Partitions:
    """Divide objects into d, c and e, each class by the same fractions to within one object.

    Which part an object falls into depends on the ids and the seed, not on the order of the records.

    Raises:
        InputError: Not three fractions of at least 0 that sum to 1, or no objects.
    """
    fractions = _check_fractions(fractions)
    if not records:
        raise InputError("no objects to make partitions of")
    by_class: defaultdict[str, list[str]] = defaultdict(list)
    for record in records:
        by_class[record.class_name].append(record.id)
    parts: dict[str, list[str]] = {part: [] for part in PARTS}
    for ids in by_class.values():
        ids.sort(key=lambda identity: _draw(seed, identity))
        start = 0
        for part, size in zip(PARTS, _shares(len(ids), fractions), strict=True):
            parts[part] += ids[start : start + size]
            start += size
    return Partitions(*(tuple(sorted(parts[part])) for part in PARTS), fractions, seed, source)


def save_partitions(partitions: Partitions, path: str | Path) -> None:
    """Write a partition file (JSON), atomically."""
    content = {
        "schema": SCHEMA,
        "source": partitions.source,
        "seed": partitions.seed,
        "fractions": dict(zip(PARTS, partitions.fractions, strict=True)),
        **{part: list(partitions.part(part)) for part in PARTS},
    }
    try:
        atomic_write(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror})") from error


def load_partitions(path: str | Path) -> Partitions:
    """Read a partition file.

    Raises:
        InputError: Not a partition file, of another schema, or an object is in two parts.
    """
    try:
        content = json.loads(read_file(Path(path), READ_LIMIT).decode("utf-8-sig"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not a partition file ({error})") from error
    schema = content.get("schema") if isinstance(content, dict) else None
    if schema != SCHEMA:
        raise InputError(
            f"{path}: schema {schema!r} instead of {SCHEMA!r}; make it with 'dimvida data partition' of this version"
        )
    parts = [_ids(path, content, part) for part in PARTS]
    _check_disjoint(path, parts)
    try:
        fractions = _check_fractions([content["fractions"][part] for part in PARTS])
        return Partitions(*parts, fractions, int(content["seed"]), str(content.get("source", "")))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{path}: not a partition file (seed or fractions: {error})") from error


def select_partition(source: MultiViewSource, partitions: Partitions | str | Path, part: str) -> MultiViewSource:
    """The objects of one part, in the source's order.

    Args:
        source: The data set the partitions were made of.
        partitions: Partitions or the file that holds them.
        part: "d", "c" or "e".

    Raises:
        InputError: The file is unusable, or names objects that the source does not have.
    """
    name = "the partitions" if isinstance(partitions, Partitions) else str(partitions)
    if not isinstance(partitions, Partitions):
        partitions = load_partitions(partitions)
    wanted = set(partitions.part(part))
    missing = wanted - {record.id for record in source.records}
    if missing:
        raise InputError(
            f"{name}: {len(missing)} objects of part {part} are not in {source.path} "
            f"(first: {min(missing)}); open the data and the split it was made of"
        )
    return source.select(index for index, record in enumerate(source.records) if record.id in wanted)


def _draw(seed: int, identity: str) -> bytes:
    # A hash instead of a shuffle: it does not depend on the other objects or on a library's generator.
    return hashlib.sha256(f"{seed}\0{identity}".encode()).digest()


def _shares(count: int, fractions: tuple[float, float, float]) -> list[int]:
    """Whole numbers nearest to ``count * fractions`` that sum to ``count`` (largest remainders)."""
    exact = [count * fraction for fraction in fractions]
    shares = [int(share) for share in exact]
    by_remainder = sorted(range(len(PARTS)), key=lambda part: shares[part] - exact[part])
    for part in by_remainder[: count - sum(shares)]:
        shares[part] += 1
    return shares


def _check_fractions(fractions: Sequence[float]) -> tuple[float, float, float]:
    fractions = tuple(float(fraction) for fraction in fractions)
    if len(fractions) != 3 or not all(f >= 0 for f in fractions) or abs(sum(fractions) - 1) > 1e-6:
        given = ",".join(f"{fraction:g}" for fraction in fractions)
        raise InputError(f"fractions {given}: give three of at least 0 that sum to 1, for d, c and e")
    return fractions


def _ids(path: str | Path, content: dict[str, Any], part: str) -> tuple[str, ...]:
    ids = content.get(part)
    if not isinstance(ids, list) or not all(isinstance(identity, str) for identity in ids):
        raise InputError(f"{path}: not a partition file (part {part!r} is not a list of object ids)")
    return tuple(ids)


def _check_disjoint(path: str | Path, parts: Sequence[tuple[str, ...]]) -> None:
    seen: dict[str, str] = {}
    for part, ids in zip(PARTS, parts, strict=True):
        for identity in ids:
            if identity in seen:
                raise InputError(f"{path}: object {identity} is in {seen[identity]} and in {part}; make it again")
            seen[identity] = part


def of_classes(source: MultiViewSource, classes: Sequence[str] | None, *, keep_labels: bool = False) -> MultiViewSource:
    """The objects of some classes; all for None.

    Args:
        source: The data set to choose from.
        classes: Names of the classes to keep; None for all.
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


def _list(classes: Sequence[str]) -> str:
    if not classes:
        return "it has none"
    more = " and more" if len(classes) > CLASSES_SHOWN else ""
    return f"it has {', '.join(map(_quoted, classes[:CLASSES_SHOWN]))}{more}"


def _quoted(name: str) -> str:
    """A name as ``--classes`` takes it among others."""
    if "," not in name and name == name.strip() and not name.startswith('"'):
        return name
    return '"' + name.replace('"', '""') + '"'
