"""Shards from anywhere: nothing but images and JSON is looked at, nothing leaves, and damage is named."""

from __future__ import annotations

import io
import json
import os
import pickle
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.objects import Trap, damaged

from dimvida.data.opening import open_source
from dimvida.errors import InputError, UnreadableImage

from .conftest import write_tar


def tar_shard(folder: Path, members: dict[str, bytes], number: int = 0, **options: Any) -> Path:
    """A shard of these members, see ``write_tar``."""
    return write_tar(folder / f"shard-{number:06d}.tar", members, **options)


def array_shard(folder: Path, array: np.ndarray, lines: list[dict], number: int = 0) -> Path:
    """A shard of these pictures and lines."""
    path = folder / f"shard-{number:06d}.npy"
    np.save(path, array)
    path.with_suffix(".jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def check_damaged(path: Path) -> None:
    """Read everything that opens; whatever is raised must name the shard or its list."""
    try:
        source = open_source(path.parent)
        for index, record in enumerate(source.records):
            for view in record.views:
                source.read_view(index, view)
    except InputError as error:
        assert path.stem in str(error)
        str(error).encode()


@pytest.fixture(scope="module")
def png(make) -> bytes:
    return make.png(1, 16, 16)


class TestTar:
    def test_samples_with_and_without_metadata(self, tmp_path: Path, png: bytes):
        told = json.dumps({"views": {"left": {"label": "chair", "kind": "generated"}}}).encode()
        tar_shard(tmp_path, {"chair/a.left.png": png, "chair/a.json": told, "b.front.png": png})
        source = open_source(tmp_path)
        assert [(record.id, record.views) for record in source.records] == [("chair/a", ("left",)), ("b", ("front",))]
        assert source.form == "webdataset"
        assert source.kind(0, "left") == "generated" and source.kind(1, "front") == "real"
        assert source.read_view(0, "left").pixels.shape == (16, 16, 3)
        assert source.location(0, "left") == f"{tmp_path / 'shard-000000.tar'}!chair/a.left.png"

    def test_a_pickle_is_passed_over(self, tmp_path: Path, png: bytes):
        trap = pickle.dumps(Trap(tmp_path / "sprung"))
        names = ("a.pyd", "a.pickle", "a.pkl", "a.pth", "a.left.pyd", "a.npy")
        tar_shard(tmp_path, {"a.left.png": png, **dict.fromkeys(names, trap)})
        source = open_source(tmp_path)
        source.read_view(0, "left")
        assert [record.views for record in source.records] == [("left",)]
        assert not (tmp_path / "sprung").exists()

    @pytest.mark.parametrize("name", ["../a.left.png", "/a.left.png", "b/../../a.left.png", "b\\a.left.png"])
    def test_a_name_that_leaves_the_folder_is_refused(self, tmp_path: Path, png: bytes, name: str):
        tar_shard(tmp_path, {name: png})
        with pytest.raises(InputError, match="such archives are refused"):
            open_source(tmp_path)

    @pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
    def test_links_and_special_files_are_refused(self, tmp_path: Path, kind: bytes):
        tar_shard(tmp_path, {"a.left.png": b""}, type=kind, linkname="/etc/passwd")
        with pytest.raises(InputError, match="is no ordinary file"):
            open_source(tmp_path)

    def test_a_view_that_is_there_twice(self, tmp_path: Path, png: bytes):
        tar_shard(tmp_path, {"a.left.png": png, "a.left.jpg": png})
        with pytest.raises(InputError, match=r"a\.left\.jpg: view 'left' of a is there twice"):
            open_source(tmp_path)
        tar_shard(tmp_path, {"a.left.png": png})
        tar_shard(tmp_path, {"a.left.png": png}, number=1)
        with pytest.raises(InputError, match="view 'left' of a is there twice"):
            open_source(tmp_path)

    def test_cut_short(self, tmp_path: Path, png: bytes):
        path = tar_shard(tmp_path, {"a.left.png": png * 3})
        path.write_bytes(path.read_bytes()[:900])
        with pytest.raises((InputError, UnreadableImage)):
            open_source(tmp_path).read_view(0, "left")
        path.write_bytes(b"\x00nonsense" * 100)
        with pytest.raises(InputError, match="not a readable tar file"):
            open_source(tmp_path)

    def test_folders_and_hidden_files_are_no_samples(self, tmp_path: Path, png: bytes):
        with tarfile.open(tmp_path / "shard-000000.tar", "w", format=tarfile.PAX_FORMAT) as archive:
            for name in ("./", "chair/", "__MACOSX/"):
                entry = tarfile.TarInfo(name)
                entry.type = tarfile.DIRTYPE
                archive.addfile(entry)
            long = "n" * 120  # what needs a header of its own
            names = ("chair/a.left.png", "chair/._a.left.png", ".DS_Store", "__MACOSX/b.left.png", f"{long}.left.png")
            for name in names:
                entry = tarfile.TarInfo(name)
                entry.size = len(png)
                archive.addfile(entry, io.BytesIO(png))
        source = open_source(tmp_path)
        assert [record.name for record in source.records] == ["a", long]
        assert source.notes == ()
        assert source.read_view(1, "left").pixels.shape == (16, 16, 3)

    def test_what_is_passed_over_is_counted(self, tmp_path: Path, png: bytes):
        tar_shard(tmp_path, {"a.left.png": png, "a.cls": b"0", "b.png": png, "c.jfif": png, "a.pkl": b"", "a.txt": b""})
        source = open_source(tmp_path)
        path = tmp_path / "shard-000000.tar"
        assert source.notes == (
            f"2 pictures passed over, without a view in the name (<key>.<view>.png) (first: {path}!b.png)",
            f"2 other members passed over, neither picture nor JSON (first: {path}!a.pkl)",
        )
        (tmp_path / "shard-000000.tar").unlink()
        tar_shard(tmp_path, {"b.png": png})
        with pytest.raises(InputError, match=r"no views in its shards; 1 picture passed over, without a view"):
            open_source(tmp_path)

    @pytest.mark.parametrize("format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT])
    def test_a_name_that_is_not_utf8(self, tmp_path: Path, png: bytes, format: int):
        name = os.fsdecode(b"st\xfchle/a.left.png")
        tar_shard(tmp_path, {name: png}, format=format)
        with pytest.raises(InputError, match="has a name that is not UTF-8") as caught:
            open_source(tmp_path)
        str(caught.value).encode()

    @pytest.mark.parametrize("field", ["label", "kind"])
    def test_lone_surrogates_in_metadata(self, tmp_path: Path, png: bytes, field: str):
        told = json.dumps({"views": {"left": {field: "\ud800"}}}).encode()
        tar_shard(tmp_path, {"a.left.png": png, "a.json": told})
        with pytest.raises(InputError, match=r"shard-000000\.tar!a\.left\.png: ") as caught:
            open_source(tmp_path)
        str(caught.value).encode()

    def test_a_damaged_header_in_the_middle_is_not_the_end(self, tmp_path: Path, png: bytes):
        path = tar_shard(tmp_path, {f"{name}.left.png": png for name in "abc"})
        data = bytearray(path.read_bytes())
        data[data.index(b"b.left.png")] ^= 1
        path.write_bytes(data)
        with pytest.raises(InputError, match=r"not a readable tar file \(damaged or cut off at byte \d+\)"):
            open_source(tmp_path)

    def test_a_file_that_ends_between_two_members_is_cut_off(self, tmp_path: Path, png: bytes):
        path = tar_shard(tmp_path, {f"{name}.left.png": png for name in "ab"})
        data = path.read_bytes()
        path.write_bytes(data[: data.index(b"b.left.png")])
        with pytest.raises(InputError, match="damaged or cut off"):
            open_source(tmp_path)

    def test_a_header_that_promises_memory(self, tmp_path: Path, png: bytes):
        # A pax header of 2**62 bytes, which the module would make room for before it reads.
        entry = tarfile.TarInfo("pax")
        entry.type, entry.size = tarfile.XHDTYPE, 2**62
        (tmp_path / "shard-000000.tar").write_bytes(entry.tobuf(tarfile.GNU_FORMAT) + bytes(1024))
        with pytest.raises(InputError, match="shard-000000"):
            open_source(tmp_path)

    @pytest.mark.parametrize("seed", range(60))
    def test_damage_raises_nothing_that_does_not_name_the_file(self, tmp_path: Path, png: bytes, seed: int):
        path = tar_shard(tmp_path, {"a.left.png": png, "a.json": b'{"views": {}}', "n" * 120 + ".left.png": png})
        path.write_bytes(damaged(path.read_bytes(), seed))
        check_damaged(path)

    @pytest.mark.parametrize("told", [b"{", b"[]", b'{"views": 3}', b'{"views": {"left": {"label": "a/b"}}}'])
    def test_metadata_that_are_none(self, tmp_path: Path, png: bytes, told: bytes):
        tar_shard(tmp_path, {"a.left.png": png, "a.json": told})
        with pytest.raises(InputError, match=r"shard-000000.tar!"):
            open_source(tmp_path)


class TestArray:
    PIXELS = np.arange(2 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 4, 4, 3)
    LINES = (
        {"key": "chair/a", "view": "left", "label": "chair"},
        {"key": "chair/a", "view": "front", "label": "chair"},
    )

    def test_pictures(self, tmp_path: Path):
        array_shard(tmp_path, self.PIXELS, list(self.LINES))
        source = open_source(tmp_path)
        assert source.form == "npy"
        assert [(record.id, record.views) for record in source.records] == [("chair/a", ("front", "left"))]
        assert np.array_equal(source.read_view(0, "front").pixels, self.PIXELS[1])
        assert np.array_equal(pickle.loads(pickle.dumps(source)).read_view(0, "left").pixels, self.PIXELS[0])

    def test_objects_are_never_unpickled(self, tmp_path: Path):
        array = np.empty(1, object)
        array[0] = Trap(tmp_path / "sprung")
        array_shard(tmp_path, array, [self.LINES[0]])
        with pytest.raises(InputError, match="not a readable array"):
            open_source(tmp_path)
        assert not (tmp_path / "sprung").exists()

    @pytest.mark.parametrize(
        ("array", "message"),
        [
            (np.zeros((2, 4, 4, 3), np.float32), "float32 .* not uint8"),
            (np.zeros((2, 4, 4), np.uint8), "not uint8"),
            (np.zeros((3, 4, 4, 3), np.uint8), "2 lines for the 3 pictures"),
        ],
    )
    def test_other_arrays_are_refused(self, tmp_path: Path, array: np.ndarray, message: str):
        array_shard(tmp_path, array, list(self.LINES))
        with pytest.raises(InputError, match=message):
            open_source(tmp_path)

    def test_a_header_that_promises_more_than_there_is(self, tmp_path: Path):
        path = array_shard(tmp_path, self.PIXELS, list(self.LINES))
        path.write_bytes(path.read_bytes()[:-10])
        with pytest.raises(InputError, match="not a readable array"):
            open_source(tmp_path)

    @pytest.mark.parametrize("line", ["{", "[]", '{"view": "left"}', '{"key": "../a", "view": "left"}'])
    def test_lines_that_are_none(self, tmp_path: Path, line: str):
        path = array_shard(tmp_path, self.PIXELS[:1], [])
        path.with_suffix(".jsonl").write_text(line + "\n")
        with pytest.raises(InputError, match=r"shard-000000\.jsonl, line 1"):
            open_source(tmp_path)

    def test_without_lines(self, tmp_path: Path):
        np.save(tmp_path / "shard-000000.npy", self.PIXELS)
        with pytest.raises(InputError, match=r"shard-000000.jsonl: cannot be read"):
            open_source(tmp_path)

    @pytest.mark.parametrize("shape", [(2, 0, 4, 3), (2, 4, 0, 1)])
    def test_pictures_without_pixels(self, tmp_path: Path, shape: tuple[int, ...]):
        array_shard(tmp_path, np.zeros(shape, np.uint8), list(self.LINES))
        with pytest.raises(InputError, match=r"shard-000000\.npy: .*, pictures without pixels"):
            open_source(tmp_path)

    @pytest.mark.parametrize("field", ["key", "view", "label"])
    def test_lone_surrogates_in_lines(self, tmp_path: Path, field: str):
        array_shard(tmp_path, self.PIXELS, [{**self.LINES[0], field: "\udc80"}, self.LINES[1]])
        with pytest.raises(InputError, match=r"shard-000000\.jsonl, line 1: ") as caught:
            open_source(tmp_path)
        str(caught.value).encode()

    @pytest.mark.parametrize("header", ["{'descr': '|u1', 'fortran_order': False, 'shape': (-2, 4, 4, 3)}",
        "{'descr': '|u1', 'fortran_order': False, 'shape': (9223372036854775807, 4, 4, 3)}",
        "{'descr': '|u1', 'fortran_order': False, 'shape': (2, 4, 4, 3.0)}",
        "{'descr': [('a', '|u1')], 'fortran_order': False, 'shape': (2, 4, 4, 3)}",
        "{'descr': '|u', 'fortran_order': 7, 'shape': ()}", "[" * 5000, "\0", "{}",
    ])  # fmt: skip
    def test_headers_that_are_none(self, tmp_path: Path, header: str):
        path = array_shard(tmp_path, self.PIXELS, list(self.LINES))
        text = header.encode() + b"\n"
        path.write_bytes(b"\x93NUMPY\1\0" + len(text).to_bytes(2, "little") + text + self.PIXELS.tobytes())
        with pytest.raises(InputError, match=r"shard-000000\.npy: ") as caught:
            open_source(tmp_path)
        assert "\n" not in str(caught.value)

    def test_a_zip_of_arrays_is_no_array(self, tmp_path: Path):
        path = array_shard(tmp_path, self.PIXELS, list(self.LINES))
        with open(path, "wb") as file:
            np.savez(file, a=self.PIXELS)
        with pytest.raises(InputError, match="not a readable array"):
            open_source(tmp_path)

    @pytest.mark.parametrize("seed", range(60))
    def test_damage_raises_nothing_that_does_not_name_the_file(self, tmp_path: Path, seed: int):
        path = array_shard(tmp_path, self.PIXELS, list(self.LINES))
        target = path if seed % 2 else path.with_suffix(".jsonl")
        target.write_bytes(damaged(target.read_bytes(), seed))
        check_damaged(path)


def test_both_forms_in_one_folder_are_refused(tmp_path: Path, png: bytes):
    tar_shard(tmp_path, {"a.left.png": png})
    array_shard(tmp_path, TestArray.PIXELS, list(TestArray.LINES))
    with pytest.raises(InputError, match="shards of two forms, npy and tar"):
        open_source(tmp_path)


def test_shards_have_no_splits(tmp_path: Path, png: bytes):
    tar_shard(tmp_path, {"a.left.png": png})
    with pytest.raises(InputError, match="no splits"):
        open_source(tmp_path, split="test")
