"""The journal of an unfinished output: which batches are written, and everything the end needs to know of them.

One JSON object per line. ``{"begin": n, "files": [...]}`` stands before a batch's files are touched, so that
every file the generator ever made is on record; ``{"end": n, ...}`` follows when they are all on disk.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dimvida.errors import InputError


@dataclass(frozen=True, slots=True)
class BatchResult:
    """What came of one batch.

    Attributes:
        number: Its place in the plan.
        rows: Lines of the metadata, one for each file.
        objects: Objects of which draw 0 is in the batch.
        views: Views generated.
        skipped: Files that could not be read, as dictionaries.
        notes: Conversions: text -> [how many images, the first one's file].
    """

    number: int
    rows: list[dict[str, Any]]
    objects: int
    views: int
    skipped: list[dict[str, str]] = field(default_factory=list)
    notes: dict[str, tuple[int, str]] = field(default_factory=dict)


class Journal:
    """Appends to and reads one journal file. A torn last line, left by a crash, is cut off when it is opened.

    Raises:
        InputError: The file has a line that is not of a journal.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._ends: dict[int, int] = {}  # batch -> offset of its line
        self._size = self._scan() if path.exists() else 0

    @property
    def finished(self) -> set[int]:
        """Numbers of the batches that are on disk."""
        return set(self._ends)

    def begin(self, number: int, files: list[str]) -> None:
        """Record that these files are about to be written."""
        self._append({"begin": number, "files": files})

    def end(self, result: BatchResult) -> None:
        """Record that the batch is on disk."""
        offset = self._size
        self._append({"end": result.number, **asdict(result)})
        self._ends[result.number] = offset

    def forget(self, number: int) -> None:
        """Take a batch as not written, because its files are gone or changed."""
        del self._ends[number]

    def results(self) -> Iterator[BatchResult]:
        """The batches on disk, in the plan's order. The one at hand may be forgotten."""
        if not self._ends:
            return
        with open(self.path, "rb") as file:
            for number in sorted(self._ends):
                file.seek(self._ends[number])
                fields = json.loads(file.readline())
                del fields["end"]
                yield BatchResult(**fields)

    def _scan(self) -> int:
        offset = 0
        with open(self.path, "rb") as file:
            for line in file:
                if not line.endswith(b"\n"):
                    break
                fields = _parse(line, self.path)
                if "end" in fields:
                    self._ends[fields["end"]] = offset
                offset += len(line)
        return offset

    def _append(self, fields: dict[str, Any]) -> None:
        line = json.dumps(fields, ensure_ascii=False).encode() + b"\n"
        with open(self.path, "r+b" if self.path.exists() else "xb") as file:
            file.truncate(self._size)
            file.seek(self._size)
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
        self._size += len(line)


def files_on_record(path: Path) -> Iterator[str]:
    """Every file named by a journal or a ``metadata.jsonl``; lines that are neither are passed over."""
    with open(path, "rb") as file:
        for line in file:
            try:
                fields = json.loads(line)
            except ValueError:
                continue
            if isinstance(fields, dict):
                yield from fields.get("files", ())
                if "file_name" in fields:
                    yield fields["file_name"]


def _parse(line: bytes, path: Path) -> dict[str, Any]:
    try:
        fields = json.loads(line)
        if "begin" in fields or {"end", "rows"} <= set(fields):
            return fields
    except (ValueError, TypeError):
        pass
    raise InputError(f"{path}: damaged; give --overwrite to start again")
