"""One output folder: new, unfinished or finished, and of which configuration.

generation.json      the configuration, and its hash
shard-000000.*       a shard, as its form has it
shard-000000.json    its stats, written when the shard is on disk
metadata.jsonl       all lines (imagefolder only)
cameras.json         where the views are seen from (of a model with cameras)
README.md            the data set card, and its picture, .contact-sheet.png
report.json          counts, skipped files, conversions; written last: with it the output is finished
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from dimvida.data.cameras import CAMERAS_NAME, Camera, cameras_text
from dimvida.errors import DimvidaError, InputError
from dimvida.files import atomic_path, make_folder
from dimvida.generation.card import card_problem, remove_card, write_card
from dimvida.generation.formats import FORMATS, remove_shard
from dimvida.generation.lease import Lease
from dimvida.generation.lock import LOCK, FolderLock
from dimvida.generation.plan import Shard, stem_of
from dimvida.generation.settings import CONFIGURATION, check_same, configuration_hash, read_configuration
from dimvida.generation.stats import DamagedStats, GenerationReport, ShardStats, fail_empty
from dimvida.generation.storage import (
    Place,
    RemotePath,
    output_errors,
    output_place,
    require_writable_place,
    write_whole,
)
from dimvida.results.files import GenerationConfiguration, GenerationResult, result_text

METADATA, REPORT = "metadata.jsonl", GenerationResult.file
_SHARD = re.compile(r"\.?shard-(\d{6,})\.")
_STALE = re.compile(
    r"\.(generation|report|metadata|cameras)\..*\.jsonl?|\.shard-\d{6,}\..*|\.generation\.(finish|gate)"
    r"|\.README\..*\.md|\.\.contact-sheet\..*\.png"
)


class OutputFolder:
    """What stands in an output folder, and what becomes of it.

    Args:
        folder: The folder, which need not exist.
        configuration: What decides about every byte, see ``run_configuration``.
        shards: All shards of the plan.
        overwrite: Replace an output of another configuration, or a finished one. Only files that a generator
            wrote are removed.
        writing: Whether anything will be written there.

    Attributes:
        lock: What this process has of the lock on the folder, while it is open.

    Raises:
        InputError: The folder cannot be written, holds something else or another configuration's output.
    """

    def __init__(
        self,
        folder: str | Place,
        configuration: Mapping[str, Any],
        shards: Iterable[Shard],
        *,
        overwrite: bool = False,
        writing: bool = True,
    ) -> None:
        self.folder = output_place(folder) if isinstance(folder, str) else folder
        self.shards = tuple(shards)
        self.hash = configuration_hash(dict(configuration))
        self.configuration = dict(configuration)
        self.overwrite = overwrite
        self.lock: FolderLock | Lease | None = None
        if isinstance(self.folder, RemotePath) and not FORMATS[self.form].takes_urls:
            takers = ", ".join(name for name, form in FORMATS.items() if form.takes_urls)
            raise InputError(f"--out {self.folder}: not for a file of each picture; give --format {takers}")
        if writing:
            require_writable_place(self.folder)
        stored = stored_configuration(self.folder)
        if stored is not None and not self.overwrite:
            check_same(self.folder, stored, self.configuration)

    def open(self, job: str, part: int | None = 0, joins: bool = False) -> None:
        """Make the folder or take up what is there, and lock it for a job, of which this process does a part.

        Args:
            job: Name of the job.
            part: The part of the job that is this process's; None for none of its own.
            joins: Only come in beside another process of the job.

        Raises:
            InputError: Another job is at work there, or another process on this part.
            DimvidaError: There is none to join.
        """
        first = self._refuse if joins else self._prepare
        with output_errors(self.folder):
            if isinstance(self.folder, RemotePath):
                self.lock = Lease(self.folder, job, part, self.pending, first=None if joins else first)
            else:
                make_folder(self.folder)
                self.lock = FolderLock(self.folder, job, part, first=first)
        stored = stored_configuration(self.folder)
        check_same(self.folder, stored or {}, self.configuration)

    def __getstate__(self) -> dict[str, Any]:
        """For another process, which takes the lock itself."""
        return {**self.__dict__, "lock": None}

    def close(self) -> None:
        """Give the lock back."""
        if self.lock is not None:
            self.lock.release()
            self.lock = None

    @property
    def form(self) -> str:
        """The form of its shards."""
        return self.configuration["format"]

    @property
    def finished(self) -> bool:
        """Whether everything was written. What is there may be damaged since."""
        return (self.folder / REPORT).exists()

    def check_there(self) -> None:
        """Raise DimvidaError if the folder was removed or replaced since it was opened."""
        assert self.lock is not None
        self.lock.check()

    def pending(self) -> list[Shard]:
        """The shards that are not finished; what was finished before this run is read again at its start."""
        names = _names(self.folder)
        return [shard for shard in self.shards if f"{shard.stem}.json" not in names]

    def stats(self, shard: Shard) -> ShardStats | None:
        """Stats of a finished shard of this configuration, None if it is not one. Its files are not looked at."""
        try:
            stats = ShardStats.read(self.folder / f"{shard.stem}.json")
        except (FileNotFoundError, DamagedStats):
            return None
        fits = (stats.shard, stats.rows) == (shard.number, shard.stop - shard.start)
        return stats if fits and stats.configuration == self.hash else None

    def reopen(self, shard: Shard) -> None:
        """Declare a shard unfinished, and so the output."""
        with output_errors(self.folder):
            for name in (REPORT, METADATA, f"{shard.stem}.json"):
                (self.folder / name).unlink(missing_ok=True)

    def add(self, stats: ShardStats) -> None:
        """Declare a shard finished, whose files are on disk."""
        self.check_there()
        with output_errors(self.folder):
            stats.write(self.folder / f"{stem_of(stats.shard)}.json")

    def finish(self, draw: Callable[[], bytes]) -> GenerationReport:
        """Write metadata, card and, last, the report, unless they are there and right.

        All shards are finished, and this process is alone.

        Args:
            draw: Makes the card's picture, a PNG file.

        Raises:
            InputError: Not a single picture was made.
            DimvidaError: The disk is full or fails, or the folder was removed.
        """
        self.check_there()
        with output_errors(self.folder):
            report = self.make_report()
            if not report.views:
                fail_empty(report.skipped)
            if FORMATS[self.form].joined_lines and not self.metadata_right():
                (self.folder / REPORT).unlink(missing_ok=True)
                with atomic_path(self.folder / METADATA) as temporary, open(temporary, "wb") as file:
                    for block in self._metadata():
                        file.write(block)
            if not self.cameras_right():
                write_whole(self.folder / CAMERAS_NAME, self._cameras())
            write_card(self.folder, self.configuration, report, draw)
            self.sweep()  # what processes of this job left that were killed
            if not self.report_right(report):
                write_whole(self.folder / REPORT, self._report_text(report))
        return report

    def make_report(self) -> GenerationReport:
        """The report that the shards' stats give."""
        report = GenerationReport(
            left_out=dict(self.configuration["left_out"]),
            files_left_out=dict(self.configuration.get("files_left_out", {})),
        )
        for shard in self.shards:
            stats = self.stats(shard)
            if stats is None:
                raise DimvidaError(f"{self.folder}: {shard.stem} is gone; run the command again")
            report.add(stats)
        return report

    def report_right(self, report: GenerationReport) -> bool:
        """Whether ``report.json`` says this."""
        return _holds(self.folder / REPORT, [self._report_text(report).encode()])

    def _report_text(self, report: GenerationReport) -> str:
        return result_text(report.result(self.hash), ascii=False)

    def metadata_right(self) -> bool:
        """Whether ``metadata.jsonl`` is what the shards' lines give."""
        return _holds(self.folder / METADATA, self._metadata())

    def card_problem(self, report: GenerationReport) -> str | None:
        """What is wrong with the data set card, or None."""
        if "classes" not in self.configuration:  # of an output that is older than cards
            return None
        return card_problem(self.folder, self.configuration, report)

    def cameras_right(self) -> bool:
        """Whether ``cameras.json`` is what the configuration says, or none is to be there."""
        return "cameras" not in self.configuration or _holds(self.folder / CAMERAS_NAME, [self._cameras().encode()])

    def _cameras(self) -> str:
        return cameras_text({view: Camera(**angles) for view, angles in self.configuration["cameras"].items()})

    def _metadata(self) -> Iterator[bytes]:
        lines = (self.folder / f"{shard.stem}.jsonl" for shard in self.shards)
        return (path.read_bytes() for path in lines if path.exists())  # a shard of unreadable inputs has none

    def _refuse(self) -> None:
        raise DimvidaError(f"{self.folder}: whoever gave this work has ended")

    def _prepare(self) -> None:
        """What the first process of a job does before another one comes in."""
        self.sweep()
        stored = stored_configuration(self.folder)
        if stored is not None:
            same = configuration_hash(stored) == self.hash
            if not self.overwrite:
                check_same(self.folder, stored, self.configuration)
            elif self.finished or not same:
                self._discard()
            if same:
                return
        content = GenerationConfiguration(hash=self.hash, configuration=self.configuration)
        write_whole(self.folder / CONFIGURATION, result_text(content))

    def sweep(self) -> None:
        """Remove what processes that were killed had begun. Nobody may be at work on a shard."""
        if isinstance(self.folder, RemotePath):
            self.folder.abort_uploads()
            return
        for path in sorted(self.folder.iterdir()):
            if _STALE.fullmatch(path.name) and path.is_file() and path.name != LOCK:
                path.unlink(missing_ok=True)
            elif _STALE.fullmatch(path.name) and path.suffix == ".part":  # a folder: the pictures of a shard
                shutil.rmtree(path, ignore_errors=True)

    def _discard(self) -> None:
        """Remove an output. The configuration stays until another is written, so that a crash in between is none."""
        for name in (REPORT, METADATA, CAMERAS_NAME):
            (self.folder / name).unlink(missing_ok=True)
        remove_card(self.folder)
        stems = {stem_of(int(match[1])) for name in _names(self.folder) if (match := _SHARD.match(name))}
        for stem in sorted(stems):
            remove_shard(self.folder, stem)


def _names(folder: Place) -> set[str]:
    """The names of what is in a folder, which need not be there."""
    if isinstance(folder, RemotePath):
        return folder.names()
    return set(os.listdir(folder)) if os.path.isdir(folder) else set()


def stored_configuration(folder: Place) -> dict[str, Any] | None:
    """The configuration of the output in a folder, None if the folder is new.

    Raises:
        InputError: It holds something else, or its configuration is damaged.
    """
    path = folder / CONFIGURATION
    if not (path.exists() if isinstance(path, RemotePath) else os.path.lexists(path)):
        if all(_STALE.fullmatch(name) or name == LOCK for name in _names(folder)):
            return None
        raise InputError(f"{folder}: not empty, and not an output of dimvida generate; choose another --out")
    return read_configuration(path)


def _holds(path: Place, blocks: Iterable[bytes]) -> bool:
    """Whether a file has exactly this content."""
    try:
        with path.open("rb") as file:
            return all(file.read(len(block)) == block for block in blocks) and not file.read(1)
    except FileNotFoundError:
        return False
