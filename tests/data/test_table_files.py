"""Files of tables: groups of rows read once, large ones a part at a time, and damage in one line."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
from helpers.objects import image_bytes, write_parquet

from dimvida.data import table_files
from dimvida.data.folder_tree import FolderTree
from dimvida.data.table_files import ParquetFiles
from dimvida.errors import UnreadableImage


class CountingTree(FolderTree):
    """A folder that counts how often its files are opened."""

    opened = 0

    def open(self, name: str):
        self.opened += 1
        return super().open(name)


@pytest.fixture
def files(tmp_path: Path) -> ParquetFiles:
    for number in range(2):
        rows = [{"image": image_bytes(20 * number + row)} for row in range(20)]
        write_parquet(tmp_path / f"{number}.parquet", rows, row_group_size=8)
    return ParquetFiles(CountingTree(tmp_path), ["0.parquet", "1.parquet"])


def test_a_group_is_read_once(files: ParquetFiles):
    before = files._tree.opened
    for row in (0, 7, 3, 1):
        assert files.image(row, "image") == image_bytes(row)
    assert files._tree.opened == before + 1
    assert [files.image(row, "image") for row in range(40)] == [image_bytes(row) for row in range(40)]
    assert files._tree.opened == before + 6


def test_groups_that_are_kept_are_bounded(files: ParquetFiles, monkeypatch):
    monkeypatch.setattr(table_files, "MEMORY", 1)
    copy = pickle.loads(pickle.dumps(files))
    before = copy._tree.opened
    for row in (0, 8, 0):
        assert copy.image(row, "image") == image_bytes(row)
    assert copy._tree.opened == before + 3


def test_large_groups_are_read_a_part_at_a_time(files: ParquetFiles, monkeypatch):
    monkeypatch.setattr(table_files, "GROUP_LIMIT", 0)
    monkeypatch.setattr(table_files, "_PART", 300)  # three rows or so
    before = files._tree.opened
    for row in (1, 2, 6):
        assert files.image(row, "image") == image_bytes(row)
    assert files._tree.opened == before + 1 and len(next(iter(files._parts.values()))._part) < 8
    assert files.image(0, "image") == image_bytes(0)  # from the beginning again
    assert files._tree.opened == before + 2
    assert [files.image(row, "image") for row in range(40)] == [image_bytes(row) for row in range(40)]
    assert len(files._parts) <= table_files._MOST_PARTS


def test_another_process_opens_files_of_its_own(files: ParquetFiles, monkeypatch):
    monkeypatch.setattr(table_files, "GROUP_LIMIT", 0)
    files.image(1, "image")
    before = files._tree.opened
    monkeypatch.setattr(os, "getpid", lambda: -1)
    assert files.image(2, "image") == image_bytes(2) and files._tree.opened == before + 1


def test_a_file_that_vanished_or_changed_is_unreadable(files: ParquetFiles, tmp_path: Path):
    (tmp_path / "1.parquet").unlink()
    with pytest.raises(UnreadableImage, match=r"1\.parquet: cannot be read \(No such file"):
        files.image(20, "image")
    write_parquet(tmp_path / "0.parquet", [{"other": 1}])
    with pytest.raises(UnreadableImage, match=r"0\.parquet: not a readable parquet file, or has changed \("):
        files.image(9, "image")


@pytest.mark.parametrize("cut", [0, 3, 12, 200, -1, -9, -100])
def test_a_damaged_file_is_one_line(tmp_path: Path, cut: int):
    path = write_parquet(tmp_path / "a.parquet", [{"image": image_bytes(1)}])
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(
        UnreadableImage, match=r"a\.parquet: not a readable parquet file.*make or fetch it again"
    ) as caught:
        ParquetFiles(FolderTree(tmp_path), ["a.parquet"])
    assert "\n" not in str(caught.value)


def test_damaged_pages_are_unreadable_or_other_bytes(tmp_path: Path):
    path = write_parquet(tmp_path / "a.parquet", [{"image": image_bytes(row)} for row in range(8)], row_group_size=8)
    whole = path.read_bytes()
    found = 0
    for place in range(4, 120, 7):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        files = ParquetFiles(FolderTree(tmp_path), ["a.parquet"])
        try:
            found += files.image(0, "image") != image_bytes(0)
        except UnreadableImage:
            found += 1
    assert found
