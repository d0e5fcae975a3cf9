"""File names of generated views. Nothing that a data set or a checkpoint calls itself leaves the output folder.

Different classes and objects have different names, whatever has to be replaced in them; and since no view's name has
``__`` or begins with ``_``, the last ``__`` of a file name is where the object's name ends and the view's begins.
"""

from __future__ import annotations

import hashlib
import re
from array import array
from collections import Counter
from collections.abc import Callable, Iterable
from typing import NoReturn

import numpy as np

from dimvida.data.names import UNLABELED, check_view_name
from dimvida.errors import InputError
from dimvida.generation.formats import FORMATS
from dimvida.generation.plan import GenerationPlan
from dimvida.generation.tasks import Task

NAME_BYTES = 180  # of 255 that file systems allow, leaving room for draw, view and suffix
# Not for folders of classes: our own files lie beside them, and Windows has devices of these names.
_RESERVED = re.compile(
    r"((generation|report|cameras)\.json|readme\.md|metadata\.jsonl|shard-\d{6,}\..*|(con|prn|aux|nul|com\d|lpt\d)(\..*)?)",
    re.IGNORECASE,
)
_PASSED_OVER = re.compile(r"__.*__")  # by the reader of webdataset, which takes such a folder for one of its own


class FileNames:
    """The parts before ``__<view>.png`` of relative file names ``<class>/<source>__<view>.png`` of a plan.

    With several draws each is an object of its own, ``<class>/<source>-<draw>__<view>.png``, so that files which
    differ in the view only always belong together. Objects without a class are in ``unlabeled/``.

    Args:
        plan: The run's plan.
        form: Form of the output. Names in tar files have no dots, as readers take the first one as the end of a key.

    Raises:
        InputError: Two objects have the same class and name, or a view's name cannot be part of a file's.
    """

    def __init__(self, plan: GenerationPlan, form: str = "imagefolder") -> None:
        plain = FORMATS[form].plain_keys
        for view in plan.view_names:
            check_view_name(view, "checkpoint")
            if plain and ("." in view or view != view.lower()):
                raise InputError(f"--format {form}: view {view!r}: its reader takes lower case without dots only")
        self._several, self._plain = plan.draws > 1, plain
        records = (task.record for task in plan.tasks)
        # Objects are compared by hashes, of which ten million fit anywhere, and looked at themselves where these agree.
        names: dict[str, None] = {}
        hashes = array("q")
        for record in records:
            names[record.class_name] = None
            hashes.append(self._hash(record.class_name, _part(record.name, plain)))
        self._classes = unlike(names, lambda name: _class_part(name, plain))
        ordered = np.sort(np.frombuffer(hashes, np.int64))
        self._stems = self._of_alike(plan, hashes, ordered) if len(ordered) else {}

    def key(self, task: Task, draw: int) -> str:
        """``<class>/<source>`` or ``<class>/<source>-<draw>``, the same for all views of a row."""
        stem = self._stems.get(task.index)
        if stem is None:
            stem = f"{self._classes[task.record.class_name]}/{_part(task.record.name, self._plain)}"
        return stem + (f"-{draw}" if self._several else "")

    def _of_alike(self, plan: GenerationPlan, hashes: array[int], ordered: np.ndarray) -> dict[int, str]:
        """The stems of objects whose names become equal, by their places in the source."""
        alike = set(np.unique(ordered[1:][ordered[1:] == ordered[:-1]]).tolist())
        while alike:
            members: dict[str, dict[str, Task]] = {}
            for task, hashed in zip(plan.tasks, hashes, strict=True):
                if hashed in alike:
                    other = members.setdefault(task.record.class_name, {}).setdefault(task.record.name, task)
                    if other is not task:
                        self._refuse(plan, other, task)
            parts = {name: unlike(tasks, lambda name: _part(name, self._plain)) for name, tasks in members.items()}
            # What a changed name has become may be the name of one that was not looked at.
            made = {self._hash(name, part) for name, within in parts.items() for part in within.values()} - alike
            more = made & set(ordered[np.isin(ordered, list(made))].tolist())
            if not more:
                return {
                    task.index: f"{self._classes[name]}/{parts[name][task.record.name]}"
                    for name, tasks in members.items()
                    for task in tasks.values()
                }
            alike |= more
        return {}

    def _refuse(self, plan: GenerationPlan, one: Task, other: Task) -> NoReturn:
        where = f"{self._classes[one.record.class_name]}/{_part(one.record.name, self._plain)}"
        raise InputError(
            f"{plan.source.path}: {one.record.id} and {other.record.id} would both be written to {where}__<view>.png; "
            "rename one, or take one --split at a time"
        )

    @staticmethod
    def _hash(class_name: str, part: str) -> int:
        return hash((class_name, part))


def unlike(names: Iterable[str], part_of: Callable[[str], str]) -> dict[str, str]:
    """name -> part of a path, a different one for each; equal ones get a hash of the name unless they are the name.

    Raises:
        InputError: Two are equal all the same, as one name is made of the other's hash.
    """
    parts = {name: part_of(name) for name in names}
    count = Counter(parts.values())
    parts = {name: part if count[part] == 1 or part == name else _hashed(part, name) for name, part in parts.items()}
    owners: dict[str, str] = {}
    for name, part in parts.items():
        other = owners.setdefault(part, name)
        if other != name:
            raise InputError(f"{other!r} and {name!r} would both be written as {part}; rename one")
    return parts


def safe_part(text: str) -> str:
    """``text`` as one part of a path: printable, visible, on every file system, not too long."""
    part = re.sub(r'[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff/\\:*?"<>|]', "_", text).rstrip(" .")
    part = re.sub(r"^\.+", lambda dots: "_" * len(dots.group()), part) or "_"
    return part if len(part.encode()) <= NAME_BYTES else _hashed(part, text)


def _part(name: str, plain: bool) -> str:
    part = safe_part(name)
    return part.replace(".", "_") if plain else part


def _class_part(name: str, plain: bool) -> str:
    if not name:
        return UNLABELED
    part = _part(name, plain)
    if _RESERVED.fullmatch(part):
        return f"_{part}"
    return _hashed(part, name) if plain and _PASSED_OVER.fullmatch(part) else part


def _hashed(part: str, text: str) -> str:
    digest = hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:16]
    return part.encode()[: NAME_BYTES - 17].decode(errors="ignore") + "-" + digest
