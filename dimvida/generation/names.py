"""File names of generated views. Nothing that a data set or a checkpoint calls itself leaves the output folder."""

from __future__ import annotations

import hashlib
import re

from dimvida.data.metadata import check_view_name
from dimvida.errors import InputError
from dimvida.generation.plan import Plan, Task

UNLABELED = "unlabeled"
BYTE_LIMIT = 180  # of 255 that file systems allow, leaving room for draw, view and temporary suffixes


class FileNames:
    """Relative file names ``<class>/<source>__<view>.png`` of a plan.

    With several draws each is an object of its own, ``<class>/<source>-<draw>__<view>.png``, so that files which
    differ in the view only always belong together. Objects without a class are in ``unlabeled/``.

    Raises:
        InputError: Two objects would get the same name, or a view's name cannot be part of one.
    """

    def __init__(self, plan: Plan) -> None:
        for view in plan.view_names:
            check_view_name(view, "checkpoint")
            if "__" in view:
                raise InputError(f"checkpoint: view name {view!r} has '__', which separates names and views")
        self._several = plan.draws > 1
        self._view_names = plan.view_names
        self._stems: dict[int, str] = {}
        owners: dict[str, Task] = {}
        for task in plan.tasks:
            record = task.record
            stem = f"{safe_part(record.class_name) if record.class_name else UNLABELED}/{safe_part(record.name)}"
            other = owners.setdefault(stem, task)
            if other is not task:
                raise InputError(
                    f"{plan.source.path}: {other.record.id} and {record.id} would both be written to "
                    f"{stem}__<view>.png; rename one, or take one --split at a time"
                )
            self._stems[task.index] = stem

    def key(self, task: Task, draw: int) -> str:
        """``<class>/<source>`` or ``<class>/<source>-<draw>``, the same for all views of a row."""
        return self._stems[task.index] + (f"-{draw}" if self._several else "")

    def path(self, task: Task, draw: int, view: str, suffix: str = ".png") -> str:
        """The file of one view, relative to the output folder, with "/" between the parts."""
        return f"{self.key(task, draw)}__{view}{suffix}"

    def check_tar_keys(self) -> None:
        """Raise InputError where two names differ in what a key of a tar file cannot tell apart."""
        owners: dict[str, str] = {}
        for stem in self._stems.values():
            other = owners.setdefault(tar_key(stem), stem)
            if other != stem:
                raise InputError(f"--format webdataset: {other} and {stem} would both be {tar_key(stem)}; rename one")
        for view in self._view_names:
            if "." in view or view != view.lower():
                raise InputError(f"--format webdataset: view {view!r}: its reader takes lower case without dots only")


def tar_key(key: str) -> str:
    """A key as members of a tar file have it: readers take the first dot as its end."""
    return key.replace(".", "_")


def safe_part(text: str) -> str:
    """``text`` as one part of a path: printable, visible, on every file system, not too long."""
    part = re.sub(r'[\x00-\x1f\x7f/\\:*?"<>|]', "_", text).rstrip(" .")
    part = re.sub(r"^\.+", lambda dots: "_" * len(dots.group()), part) or "_"
    if len(part.encode()) > BYTE_LIMIT:
        digest = hashlib.sha256(text.encode()).hexdigest()[:16]
        part = part.encode()[: BYTE_LIMIT - 17].decode(errors="ignore") + "-" + digest
    return part
