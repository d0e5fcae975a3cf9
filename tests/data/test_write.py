"""The writer of the folder form."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from dimvida.data.opening import open_source
from dimvida.data.write import MultiViewWriter, encode_png
from dimvida.errors import InputError

VIEWS = ("front", "back")


def pictures(seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {view: rng.integers(0, 256, (8, 8, 3), dtype=np.uint8) for view in VIEWS}


def write(path: Path, count: int = 3) -> None:
    with MultiViewWriter(path) as writer:
        for k in range(count):
            views = {view: encode_png(image) for view, image in pictures(k).items()}
            writer.add("train", "chair", f"chair_{k}", views)


@pytest.mark.parametrize("name", ["data", "data.zip"])
def test_what_was_written_is_read_back(tmp_path: Path, name: str) -> None:
    write(tmp_path / "new" / name)
    source = open_source(tmp_path / "new" / name)
    assert [r.id for r in source.records] == [f"train/chair/chair_{k}" for k in range(3)]
    assert source.view_names == VIEWS
    for k in range(3):
        for view, image in pictures(k).items():
            np.testing.assert_array_equal(source.read_view(k, view).pixels, image)


def test_zip_is_the_same_bytes_whenever_it_is_written(tmp_path: Path) -> None:
    write(tmp_path / "one.zip")
    write(tmp_path / "two.zip")
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "one.zip") as archive:
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_folder_and_zip_hold_the_same_files(tmp_path: Path) -> None:
    write(tmp_path / "data")
    write(tmp_path / "data.zip")
    files = {p.relative_to(tmp_path / "data").as_posix(): p for p in (tmp_path / "data").rglob("*") if p.is_file()}
    with zipfile.ZipFile(tmp_path / "data.zip") as archive:
        assert set(archive.namelist()) == set(files)
        for member, path in files.items():
            assert archive.read(member) == path.read_bytes()
    assert files["index.csv"].read_text() == (
        "split,class,object\ntrain,chair,chair_0\ntrain,chair,chair_1\ntrain,chair,chair_2\n"
    )


@pytest.mark.parametrize("name", ["data", "data.zip"])
def test_what_exists_is_not_overwritten(tmp_path: Path, name: str) -> None:
    write(tmp_path / name, count=1)
    with pytest.raises(InputError, match=name):
        write(tmp_path / name)
    assert len(open_source(tmp_path / name).records) == 1


def test_an_output_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for name in ("file", "file/data", "file/data.zip"):
        with pytest.raises(InputError, match="file"):
            write(tmp_path / name)


@pytest.mark.parametrize("name", ["data", "data.zip"])
def test_a_failure_leaves_nothing_that_looks_complete(tmp_path: Path, name: str) -> None:
    with pytest.raises(RuntimeError), MultiViewWriter(tmp_path / name) as writer:
        writer.add("train", "chair", "a", {"front": b"1"})
        raise RuntimeError
    assert not (tmp_path / "data.zip").exists()
    assert not list(tmp_path.rglob("index.csv"))
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("bad", ["", "..", "a/b", "a\\b", "a,b", "a\nb", 'a"b'])
def test_names_that_leave_the_folder_or_break_the_index_are_refused(tmp_path: Path, bad: str) -> None:
    with pytest.raises(InputError, match="not usable"), MultiViewWriter(tmp_path / "data") as writer:
        writer.add("train", "chair", bad, {"front": b"1"})


def test_the_same_object_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="train/chair/a"), MultiViewWriter(tmp_path / "data.zip") as writer:
        for _ in range(2):
            writer.add("train", "chair", "a", {"front": b"1"})
