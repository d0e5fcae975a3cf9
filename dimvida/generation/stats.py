"""What came of each shard, and of the whole output.

The stats file of a finished shard is written last, so where it is, everything it names was on disk. It carries the size
and SHA-256 of every file of the shard, and a SHA-256 of itself. The report is the sum of all stats.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from dimvida.data.names import counted, unsafe_name
from dimvida.errors import InputError
from dimvida.files import sha256_file
from dimvida.generation.storage import Place, write_whole
from dimvida.results.files import ConvertedInputs, GenerationResult
from dimvida.results.schema import SkippedInput

if TYPE_CHECKING:
    from dimvida.generation.read import ReadBatch

SCHEMA = 1


class DamagedStats(InputError):
    """A stats file that cannot be trusted."""


class StoredFile(NamedTuple):
    """A file of a shard; in JSON a list.

    Attributes:
        name: Relative to the output folder, with "/" between the parts.
        size: Length of the file in bytes.
        sha256: Hash of what is in it, in hex.
    """

    name: str
    size: int
    sha256: str

    def problem(self, folder: Place) -> str | None:
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


@dataclass(slots=True)
class ShardStats:
    """What came of one shard.

    Attributes:
        shard: Number of the shard, from 0.
        configuration: Hash of the run's configuration.
        rows: Rows of the plan.
        objects: Objects of which draw 0 is in the shard.
        views: Number of views generated.
        files: Name, size and hash of each file that was written.
        skipped: Input files that could not be read, each with the id of its object, which was left out.
        notes: Conversions of input images: text -> [how many, the first one's file].
    """

    shard: int
    configuration: str
    rows: int
    objects: int = 0
    views: int = 0
    files: list[StoredFile] = field(default_factory=list)
    skipped: list[SkippedInput] = field(default_factory=list)
    notes: dict[str, tuple[int, str]] = field(default_factory=dict)

    def count(self, batch: ReadBatch) -> None:
        """Count a batch in."""
        self.objects += sum(row.draw == 0 for row in batch.rows)
        self.views += sum(len(row.task.targets) for row in batch.rows)
        self.skipped += batch.skipped
        for text, files in batch.notes.items():
            count, first = self.notes.get(text, (0, files[0]))
            self.notes[text] = count + len(files), first

    def write(self, path: Place) -> None:
        """Write the stats file, durably."""
        write_whole(path, self._to_bytes())

    @classmethod
    def read(cls, path: Place) -> ShardStats:
        """Read a stats file.

        Raises:
            FileNotFoundError: The shard has no stats yet.
            DamagedStats: It is not as it was written.
            InputError: It cannot be read.
        """
        try:
            data = path.read_bytes()
            fields = json.loads(data)
            del fields["schema"], fields["sha256"]
            files = [StoredFile(*file) for file in fields.pop("files")]
            if any(unsafe_name(file.name) for file in files):
                raise ValueError
            notes = {text: (count, first) for text, (count, first) in fields.pop("notes").items()}
            skipped = [SkippedInput(**file) for file in fields.pop("skipped")]
            stats = cls(files=files, skipped=skipped, notes=notes, **fields)
            if stats._to_bytes() != data:  # schema and hash among them
                raise ValueError
            return stats
        except FileNotFoundError:
            raise
        except OSError as error:  # which says nothing of what is in it
            raise InputError(f"{path}: cannot be read ({error.strerror or error}); nothing was changed") from error
        except (ValueError, KeyError, TypeError, AttributeError):
            raise DamagedStats(f"{path}: damaged") from None

    def problems(self, folder: Place) -> list[str]:
        """What is wrong with the shard's files, one line each; every byte is read."""
        found = ((file.name, file.problem(folder)) for file in self.files)
        return [f"{name}: {problem}" for name, problem in found if problem is not None]

    def _to_bytes(self) -> bytes:
        # Not by asdict, which copies each of thousands of files.
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        fields["skipped"] = [asdict(file) for file in self.skipped]
        content = {"schema": SCHEMA, "sha256": _digest(fields), **fields}
        return json.dumps(content, ensure_ascii=False).encode() + b"\n"


@dataclass(slots=True)
class GenerationReport:
    """The sum of the shards' stats, as it grows; ``result`` is what ``report.json`` says of it.

    Attributes:
        objects: Objects that views were generated for.
        views: Views generated, over all draws.
        skipped: Files that could not be read, each with the id of its object, which was left out.
        notes: How input images were converted: text -> (how many images, the first one's file).
        left_out: Objects that nothing was to be generated for: reason -> how many.
        files_left_out: Files of the input that may be images and belong to no object: name -> reason.
        content: SHA-256 over the hashes of all files of the shards; not in ``report.json``.
    """

    objects: int = 0
    views: int = 0
    skipped: list[SkippedInput] = field(default_factory=list)
    notes: dict[str, tuple[int, str]] = field(default_factory=dict)
    left_out: dict[str, int] = field(default_factory=dict)
    files_left_out: dict[str, str] = field(default_factory=dict)
    content: Any = field(default_factory=hashlib.sha256)

    @property
    def not_read(self) -> int:
        """Files that nothing was made of."""
        return len(self.skipped) + len(self.files_left_out)

    def add(self, result: ShardStats) -> None:
        """Count a shard in."""
        self.objects += result.objects
        self.views += result.views
        self.skipped += result.skipped
        for file in result.files:
            self.content.update(bytes.fromhex(file.sha256))
        for text, (count, first) in result.notes.items():
            before = self.notes.get(text, (0, first))
            self.notes[text] = before[0] + count, before[1]

    def summary(self) -> str:
        """What there is, in one line: views, objects, and files that could not be read."""
        text = f"{counted(self.views, 'view')} of {counted(self.objects, 'object')}"
        return f"{text}, {counted(self.not_read, 'file')} skipped" if self.not_read else text

    def result(self, configuration: str) -> GenerationResult:
        """What ``report.json`` says of it; ``configuration`` is the hash of the run's."""
        return GenerationResult(
            configuration=configuration,
            objects=self.objects,
            views=self.views,
            left_out=self.left_out,
            files_left_out=[SkippedInput(name, reason) for name, reason in self.files_left_out.items()],
            skipped=self.skipped,
            notes=[ConvertedInputs(text, count, first) for text, (count, first) in self.notes.items()],
        )


def fail_empty(skipped: Sequence[SkippedInput]) -> NoReturn:
    """Raise InputError: of all input files, which were ``skipped``, nothing could be read."""
    raise InputError(
        f"none of the {len(skipped)} input files can be read; the first: {skipped[0].file}: {skipped[0].reason}"
    )


def _digest(fields: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(fields, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
