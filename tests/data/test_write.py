"""The writer of the folder form."""

from __future__ import annotations

import csv
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from helpers.objects import tree

from dimvida.data.cameras import Camera
from dimvida.data.opening import open_source
from dimvida.data.write import MultiViewWriter, encode_png
from dimvida.errors import InputError
from dimvida.files import sha256_file

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
def test_cameras_are_written_beside_the_index(tmp_path: Path, name: str) -> None:
    write(tmp_path / "without" / name)
    cameras = {"front": Camera(0, 30), "back": Camera(-180, 30)}
    with MultiViewWriter(tmp_path / name, cameras=cameras) as writer:
        for k in range(3):
            writer.add("train", "chair", f"chair_{k}", {v: encode_png(p) for v, p in pictures(k).items()})
    source = open_source(tmp_path / name)
    assert source.cameras == cameras and not source.notes
    if name == "data":
        added = {path.name for path in (tmp_path / name).iterdir()} - {
            p.name for p in (tmp_path / "without/data").iterdir()
        }
    else:
        with zipfile.ZipFile(tmp_path / "without" / name) as old, zipfile.ZipFile(tmp_path / name) as new:
            assert new.namelist()[:-1] == old.namelist()
            assert all(new.read(member) == old.read(member) for member in old.namelist())
            added = {new.namelist()[-1]}
    assert added == {"cameras.json"}


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


@pytest.mark.parametrize("bad", ["", "..", "a/b", "a\\b", "a\nb", "a\x9bb", "\ud800", ".a"])
def test_names_that_leave_the_folder_or_break_the_terminal_are_refused(tmp_path: Path, bad: str) -> None:
    with pytest.raises(InputError, match="not usable"), MultiViewWriter(tmp_path / "data") as writer:
        writer.add("train", "chair", bad, {"front": b"1"})


@pytest.mark.parametrize("bad", ["", "a/b", "a,b", "...", "x:y"])
def test_view_names_are_those_that_can_be_generated(tmp_path: Path, bad: str) -> None:
    with pytest.raises(InputError, match="cannot name a view"), MultiViewWriter(tmp_path / "data") as writer:
        writer.add("train", "chair", "a", {bad: b"1"})


def test_names_with_commas_and_quotes_are_quoted_in_the_index(tmp_path: Path) -> None:
    names = ["b, low poly", 'the "best"', "ä\u00a0ö"]
    with MultiViewWriter(tmp_path / "data") as writer:
        for name in names:
            writer.add("train", "chair", name, {view: encode_png(image) for view, image in pictures(0).items()})
    with open(tmp_path / "data/index.csv", newline="", encoding="utf-8") as file:
        assert [row["object"] for row in csv.DictReader(file)] == names
    assert {record.name for record in open_source(tmp_path / "data").records} == set(names)


def test_the_same_object_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="train/chair/a"), MultiViewWriter(tmp_path / "data.zip") as writer:
        for _ in range(2):
            writer.add("train", "chair", "a", {"front": b"1"})


class TestContinuing:
    """What an interruption leaves, a writer that is about the same goes on with."""

    @staticmethod
    def views(seed: int) -> dict[str, bytes]:
        return {view: encode_png(image) for view, image in pictures(seed).items()}

    def interrupted(self, path: Path, source: Path, about: dict | None = None) -> None:
        digests = {str(source): sha256_file(source)}
        with pytest.raises(RuntimeError), MultiViewWriter(path, about) as writer:
            writer.add("train", "chair", "a", self.views(1), digests)
            writer.add("train", "chair", "b", self.views(2), digests)
            raise RuntimeError

    @pytest.fixture
    def source(self, tmp_path: Path) -> Path:
        (tmp_path / "mesh.off").write_text("first")
        return tmp_path / "mesh.off"

    @pytest.mark.parametrize("name", ["data", "data.zip"])
    def test_what_is_complete_is_kept_and_the_order_is_that_asked_for(self, tmp_path: Path, source: Path, name: str):
        self.interrupted(tmp_path / name, source)
        with MultiViewWriter(tmp_path / name) as writer:
            assert not writer.keep("train", "chair", "0")
            assert writer.keep("train", "chair", "a") and writer.keep("train", "chair", "b")
            writer.add("train", "chair", "0", self.views(3))
            writer.sort([("train", "chair", "0"), ("train", "chair", "a"), ("train", "chair", "b")])
        with MultiViewWriter(tmp_path / f"fresh-{name}") as writer:
            for object_name, seed in [("0", 3), ("a", 1), ("b", 2)]:
                writer.add("train", "chair", object_name, self.views(seed))
        if name == "data.zip":
            assert (tmp_path / name).read_bytes() == (tmp_path / f"fresh-{name}").read_bytes()
        else:
            assert tree(tmp_path / name) == tree(tmp_path / f"fresh-{name}")
        assert not list(tmp_path.glob("*.unfinished"))

    def test_what_was_made_of_other_files_is_made_again(self, tmp_path: Path, source: Path):
        self.interrupted(tmp_path / "data", source)
        source.write_text("second")
        with MultiViewWriter(tmp_path / "data") as writer:
            assert not writer.keep("train", "chair", "a")
            writer.add("train", "chair", "a", self.views(4))
        files = tree(tmp_path / "data")
        assert files["train/chair/a/front.png"] == self.views(4)["front"]
        assert not any("chair/b" in name for name in files)  # nobody asked for it any more

    @pytest.mark.parametrize("damage", ["gone", "short"])
    def test_an_object_that_is_not_whole_is_made_again(self, tmp_path: Path, source: Path, damage: str):
        self.interrupted(tmp_path / "data", source)
        view = tmp_path / "data/train/chair/a/back.png"
        if damage == "gone":
            view.unlink()
        else:
            view.write_bytes(view.read_bytes()[:-5])
        with MultiViewWriter(tmp_path / "data") as writer:
            assert not writer.keep("train", "chair", "a")
            assert writer.keep("train", "chair", "b")

    def test_a_line_that_was_cut_off_does_not_count(self, tmp_path: Path, source: Path):
        self.interrupted(tmp_path / "data", source)
        journal = tmp_path / "data/.unfinished.jsonl"
        journal.write_bytes(journal.read_bytes()[:-3])
        with MultiViewWriter(tmp_path / "data") as writer:
            assert writer.keep("train", "chair", "a")
            assert not writer.keep("train", "chair", "b")
            writer.add("train", "chair", "b", self.views(2))
        assert len(open_source(tmp_path / "data")) == 2

    def test_other_options_are_refused_and_lose_nothing(self, tmp_path: Path, source: Path):
        self.interrupted(tmp_path / "data", source, {"size": 64, "up": "y"})
        before = tree(tmp_path / "data")
        with pytest.raises(InputError, match="unfinished output with another size;"):
            MultiViewWriter(tmp_path / "data", {"size": 32, "up": "y"}).__enter__()
        assert tree(tmp_path / "data") == before

    def test_another_process_is_kept_out(self, tmp_path: Path):
        with MultiViewWriter(tmp_path / "data"), pytest.raises(InputError, match="another process is writing it"):
            MultiViewWriter(tmp_path / "data").__enter__()

    @pytest.mark.parametrize("name", ["data", "data.zip"])
    def test_a_disk_that_is_full_is_one_line_and_goes_on_later(self, tmp_path: Path, name: str):
        code = f"""
import resource
import numpy as np
from dimvida.data.write import MultiViewWriter, encode_png
small = encode_png(np.zeros((8, 8, 3), np.uint8))
resource.setrlimit(resource.RLIMIT_FSIZE, (1500, 1500))
with MultiViewWriter({str(tmp_path / name)!r}) as writer:
    writer.add("train", "chair", "a", {{"front": small, "back": small}})
    writer.add("train", "chair", "b", {{"front": bytes(5000)}})
"""
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        last = done.stderr.splitlines()[-1]
        assert last.startswith(f"dimvida.errors.DimvidaError: {tmp_path / name}: cannot be written (File too large); ")
        with MultiViewWriter(tmp_path / name) as writer:
            assert writer.keep("train", "chair", "a")
            assert not writer.keep("train", "chair", "b")
        assert len(open_source(tmp_path / name)) == 1
