"""The journal survives being cut anywhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from dimvida.errors import InputError
from dimvida.generation.journal import BatchResult, Journal, files_on_record


def result(number: int) -> BatchResult:
    row = {"file_name": f"chair/{number}__left.png", "sha256": "0" * 64}
    return BatchResult(number, [row], objects=1, views=1, notes={"grayscale converted to RGB": [1, "ü.png"]})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal"


def write(path: Path, *numbers: int) -> None:
    journal = Journal(path)
    for number in numbers:
        journal.begin(number, [f"chair/{number}__left.png"])
        journal.end(result(number))


def test_what_was_written_is_read_in_the_order_of_the_plan(path: Path):
    write(path, 2, 0, 1)
    journal = Journal(path)
    assert journal.finished == {0, 1, 2}
    assert list(journal.results()) == [result(0), result(1), result(2)]


def test_cut_anywhere(path: Path):
    write(path, 0, 1)
    whole = path.read_bytes()
    ends = [i + 1 for i, byte in enumerate(whole) if byte == ord("\n")]
    for size in sorted({*range(0, len(whole), 11), *(end + d for end in ends[:-1] for d in (-1, 0, 1))}):
        path.write_bytes(whole[:size])
        journal = Journal(path)
        assert journal.finished == {n for n, end in ((0, ends[1]), (1, ends[3])) if size >= end}
        write(path, *sorted({0, 1} - journal.finished))
        assert list(Journal(path).results()) == [result(0), result(1)]


def test_a_batch_that_was_forgotten_is_written_again(path: Path):
    write(path, 0, 1)
    journal = Journal(path)
    journal.forget(0)
    assert journal.finished == {1}
    journal.end(result(0))
    assert [r.number for r in Journal(path).results()] == [0, 1]


def test_files_are_on_record_before_they_are_written(path: Path):
    Journal(path).begin(7, ["chair/a__left.png", "chair/a__back.png"])
    assert Journal(path).finished == set()
    assert list(files_on_record(path)) == ["chair/a__left.png", "chair/a__back.png"]


@pytest.mark.parametrize("line", [b"nonsense\n", b"[1]\n", b'{"end": 1}\n'])
def test_a_damaged_journal_is_refused(path: Path, line: bytes):
    path.write_bytes(line)
    with pytest.raises(InputError, match="damaged; give --overwrite"):
        Journal(path)
