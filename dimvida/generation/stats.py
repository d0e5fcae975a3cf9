"""The stats file of a finished shard: written last, so where it is, everything it names was on disk.

It carries the size and SHA-256 of every file of the shard, and a SHA-256 of itself.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dimvida.data.names import unsafe_name
from dimvida.errors import InputError
from dimvida.files import atomic_write, sha256_file

SCHEMA = 1


class DamagedStats(InputError):
    """A stats file that cannot be trusted."""


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file of a shard.

    Attributes:
        name: Relative to the output folder, with "/" between the parts.
        size: Bytes.
        sha256: Hex.
    """

    name: str
    size: int
    sha256: str

    def problem(self, folder: Path) -> str | None:
        """What is wrong with the file on disk, or None."""
        path = folder / self.name
        try:
            size = path.stat().st_size
            if size != self.size:
                return f"{size} bytes instead of {self.size}"
            return None if sha256_file(path) == self.sha256 else "its content has changed"
        except FileNotFoundError:
            return "missing"
        except OSError as error:
            return f"cannot be read ({error.strerror})"


@dataclass(frozen=True, slots=True)
class ShardStats:
    """What came of one shard.

    Attributes:
        shard: Its number.
        configuration: Hash of the run's configuration.
        rows: Rows of the plan.
        objects: Objects of which draw 0 is in the shard.
        views: Views generated.
        files: What was written.
        skipped: Input files that could not be read: ``file``, ``reason`` and the ``source`` that was left out.
        notes: Conversions of input images: text -> [how many, the first one's file].
    """

    shard: int
    configuration: str
    rows: int
    objects: int
    views: int
    files: list[StoredFile]
    skipped: list[dict[str, str]] = field(default_factory=list)
    notes: dict[str, tuple[int, str]] = field(default_factory=dict)

    def write(self, path: Path) -> None:
        """Write the stats file, durably."""
        atomic_write(path, self._to_bytes())

    @classmethod
    def read(cls, path: Path) -> ShardStats:
        """Read a stats file.

        Raises:
            FileNotFoundError: There is none.
            DamagedStats: It is not as it was written.
            InputError: It cannot be read.
        """
        try:
            data = path.read_bytes()
            fields = json.loads(data)
            if fields.pop("schema") != SCHEMA or fields.pop("sha256") != _digest(fields):
                raise ValueError
            files = [StoredFile(*file) for file in fields.pop("files")]
            if any(unsafe_name(file.name) for file in files):
                raise ValueError
            notes = {text: (count, first) for text, (count, first) in fields.pop("notes").items()}
            stats = cls(files=files, notes=notes, **fields)
            if stats._to_bytes() != data:
                raise ValueError
            return stats
        except FileNotFoundError:
            raise
        except OSError as error:  # which says nothing of what is in it
            raise InputError(f"{path}: cannot be read ({error.strerror or error}); nothing was changed") from error
        except (ValueError, KeyError, TypeError, AttributeError):
            raise DamagedStats(f"{path}: damaged") from None

    def problems(self, folder: Path) -> list[str]:
        """What is wrong with the shard's files, one line each; every byte is read."""
        found = ((file.name, file.problem(folder)) for file in self.files)
        return [f"{name}: {problem}" for name, problem in found if problem is not None]

    def _to_bytes(self) -> bytes:
        fields = asdict(self) | {"files": [[file.name, file.size, file.sha256] for file in self.files]}
        content = {"schema": SCHEMA, "sha256": _digest(fields), **fields}
        return json.dumps(content, ensure_ascii=False).encode() + b"\n"


def _digest(fields: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(fields, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
