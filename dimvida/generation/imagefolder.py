"""Writes ``<class>/<source>__<view>.png`` and ``metadata.jsonl``, and continues what was interrupted.

generation.json       the configuration, and its hash
metadata.jsonl.part   the journal, while unfinished
report.json           counts, skipped files, conversions
metadata.jsonl        written last: with it the output is finished
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from PIL import Image

from dimvida.errors import DimvidaError, InputError
from dimvida.files import atomic_path, atomic_write
from dimvida.generation.journal import BatchResult, Journal, files_on_record
from dimvida.generation.report import Report
from dimvida.generation.settings import configuration_hash

CONFIGURATION = "generation.json"
METADATA = "metadata.jsonl"
JOURNAL = "metadata.jsonl.part"
REPORT = "report.json"
_DISCARDED = ".discarded"  # suffix of the lists of files that an overwrite removes


class ImageFolderOutput:
    """One output folder, new, unfinished or finished.

    Nothing is changed before the first result arrives, so a run that fails on its input loses nothing.

    Args:
        folder: Where to write.
        configuration: What decides about every byte, see ``run_configuration``.
        overwrite: Replace an output of another configuration, or a finished one. Only files that a
            generator wrote are removed, never another folder's content.

    Raises:
        InputError: The folder cannot be written, holds something else or another configuration's output.
    """

    def __init__(self, folder: str | Path, configuration: Mapping[str, Any], *, overwrite: bool = False) -> None:
        self.folder = Path(folder)
        self._configuration = dict(configuration)
        self._hash = configuration_hash(self._configuration)
        self._overwrite = overwrite
        self._held: list[BatchResult] = []
        _check_place(self.folder)
        stored = self._stored_configuration()
        self._journal: Journal | None = None
        self.finished = False
        if stored is not None and not overwrite:
            self._check_same(stored)
            self.finished = (self.folder / METADATA).exists()
            with _naming(self.folder):
                if self.finished:
                    (self.folder / JOURNAL).unlink(missing_ok=True)  # of a run killed right at its end
                else:
                    self._start()

    @property
    def done(self) -> set[int]:
        """Numbers of the batches that need not be generated again."""
        return self._journal.finished if self._journal else set()

    def add(self, result: BatchResult, images: Mapping[str, bytes]) -> None:
        """Write a batch: its files by relative name, then its record.

        Raises:
            InputError: The folder cannot be written.
            DimvidaError: The disk is full or fails.
        """
        if self._journal is None and not images:
            self._held.append(result)
            return
        with _naming(self.folder):
            self._write(result, images)

    def finish(self, left_out: Mapping[str, int]) -> Report:
        """Write the report and, last, the metadata.

        Args:
            left_out: Objects that were never in the plan: reason -> how many.

        Raises:
            InputError: No batch has brought a picture.
            DimvidaError: The disk is full or fails.
        """
        report = Report(left_out=dict(left_out))
        for result in self._held if self._journal is None else self._journal.results():
            report.add(result)
        if self._journal is None:
            report.fail_empty()
        with _naming(self.folder):
            # Pictures are not forced to disk one by one, which takes longer than making them: until now the
            # journal's hashes told which are whole. From here on the metadata vouch for all of them.
            os.sync()
            atomic_write(self.folder / REPORT, report.to_json(self._hash))
            self._write_metadata()
            (self.folder / JOURNAL).unlink()
        return report

    def report(self) -> Report:
        """The report of a finished output."""
        return Report.from_json(self.folder / REPORT)

    def _write(self, result: BatchResult, images: Mapping[str, bytes]) -> None:
        if self._journal is None:
            self._start()
        journal = self._journal
        assert journal is not None
        for held in self._held:
            journal.end(held)
        self._held.clear()
        journal.begin(result.number, list(images))
        for folder in {self.folder / PurePosixPath(name).parent for name in images}:
            folder.mkdir(exist_ok=True)
        for name, data in images.items():
            temporary = _temporary(self.folder / name)
            temporary.write_bytes(data)
            os.replace(temporary, self.folder / name)
        journal.end(result)

    def _write_metadata(self) -> None:
        assert self._journal is not None
        with atomic_path(self.folder / METADATA) as temporary, open(temporary, "w", encoding="utf-8") as file:
            for result in self._journal.results():
                file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in result.rows)

    def _start(self) -> None:
        """Make the folder, or clear it of an earlier configuration's files, or take up where a run stopped."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for pattern in (".generation.*.json", ".report.*.json", ".metadata.*.jsonl"):
            for stale in self.folder.glob(pattern):  # of a run that was killed while it wrote one
                stale.unlink()
        if self._overwrite:
            for name in (METADATA, JOURNAL):
                if (self.folder / name).exists():
                    os.replace(self.folder / name, self.folder / (name + _DISCARDED))
        for name in (METADATA, JOURNAL):
            if (self.folder / (name + _DISCARDED)).exists():
                self._discard(self.folder / (name + _DISCARDED))
        content = {"schema": 1, "hash": self._hash, "configuration": self._configuration}
        atomic_write(self.folder / CONFIGURATION, json.dumps(content, indent=1) + "\n")
        self._journal = Journal(self.folder / JOURNAL)
        for result in self._journal.results():
            if not all(self._is_whole(row) for row in result.rows):
                self._journal.forget(result.number)

    def _is_whole(self, row: Mapping[str, Any]) -> bool:
        try:
            data = (self.folder / row["file_name"]).read_bytes()
        except OSError:
            return False
        return hashlib.sha256(data).hexdigest() == row["sha256"]

    def _discard(self, record: Path) -> None:
        """Remove the files on record, then the record: a crash in between leaves it for the next start."""
        folders = set()
        for name in files_on_record(record):
            parts = PurePosixPath(name).parts
            if len(parts) != 2 or ".." in parts or PurePosixPath(name).is_absolute():
                continue  # no generator writes there
            for path in (self.folder / name, _temporary(self.folder / name)):
                path.unlink(missing_ok=True)
            folders.add(self.folder / parts[0])
        for folder in folders:
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()
        (self.folder / REPORT).unlink(missing_ok=True)
        record.unlink()

    def _stored_configuration(self) -> dict[str, Any] | None:
        if not self.folder.exists() or all(_is_stale(path) for path in self.folder.iterdir()):
            return None
        path = self.folder / CONFIGURATION
        if not path.is_file():
            raise InputError(
                f"{self.folder}: not empty, and not an output of dimvida generate; choose another --output"
            )
        try:
            content = json.loads(path.read_bytes())
            return dict(content["configuration"])
        except (OSError, ValueError, KeyError, TypeError):
            raise InputError(f"{path}: damaged; choose another --output, or remove the folder") from None

    def _check_same(self, stored: dict[str, Any]) -> None:
        for key in {**self._configuration, **stored}:
            before, now = stored.get(key), self._configuration.get(key)
            if before != now:
                raise InputError(
                    f"{self.folder}: holds the output of another configuration ({key} was {before}, is {now}); "
                    "choose another --output, or give --overwrite"
                )


def encode_png(pixels: np.ndarray) -> bytes:
    """PNG of uint8 [H, W, 3]; fast rather than small, and the same bytes for the same pixels."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", compress_level=1)
    return buffer.getvalue()


@contextmanager
def _naming(folder: Path) -> Iterator[None]:
    """Turn the system's errors into one line about the output folder."""
    try:
        yield
    except (PermissionError, FileExistsError, NotADirectoryError) as error:
        raise InputError(f"{error.filename or folder}: cannot be written ({error.strerror})") from error
    except OSError as error:
        raise DimvidaError(
            f"{folder}: writing failed ({error.strerror or error}); the same command continues"
        ) from error


def _check_place(folder: Path) -> None:
    place = folder
    while not place.exists() and place != place.parent:
        place = place.parent
    if not place.is_dir():
        raise InputError(f"{folder}: {'is' if place == folder else f'{place} is'} a file; choose another --output")
    if not os.access(place, os.W_OK | os.X_OK):
        raise InputError(f"{folder}: no permission to write in {place}; choose another --output")


def _is_stale(path: Path) -> bool:
    return path.name.startswith(".generation.") and path.suffix == ".json"


def _temporary(path: Path) -> Path:
    # A fixed name: whoever repeats the batch overwrites what a killed run left.
    return path.with_name(f".{path.name}.part")
