"""Shards from anywhere: nothing but images and JSON is looked at, nothing leaves, and damage is named."""

from __future__ import annotations

import io
import json
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest

from dimvida.data.opening import open_source
from dimvida.errors import InputError, UnreadableImage


class Trap:
    """A pickle that would make a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.fixture
def png(tiny_image) -> bytes:
    buffer = io.BytesIO()
    tiny_image(1).save(buffer, format="PNG")
    return buffer.getvalue()


def write_tar(folder: Path, members: dict[str, bytes], number: int = 0, **fields) -> Path:
    path = folder / f"shard-{number:06d}.tar"
    with tarfile.open(path, "w") as archive:
        for name, data in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            for field, value in fields.items():
                setattr(entry, field, value)
            archive.addfile(entry, io.BytesIO(data))
    return path


def write_array(folder: Path, array: np.ndarray, lines: list[dict], number: int = 0) -> Path:
    path = folder / f"shard-{number:06d}.npy"
    np.save(path, array)
    path.with_suffix(".jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


class TestTar:
    def test_samples_with_and_without_metadata(self, tmp_path: Path, png: bytes):
        told = json.dumps({"views": {"left": {"label": "chair", "kind": "generated"}}}).encode()
        write_tar(tmp_path, {"chair/a.left.png": png, "chair/a.json": told, "b.front.png": png})
        source = open_source(tmp_path)
        assert [(record.id, record.views) for record in source.records] == [("chair/a", ("left",)), ("b", ("front",))]
        assert source.form == "webdataset"
        assert source.kind(0, "left") == "generated" and source.kind(1, "front") == "real"
        assert source.read_view(0, "left").pixels.shape == (16, 16, 3)
        assert source.location(0, "left") == f"{tmp_path / 'shard-000000.tar'}!chair/a.left.png"

    def test_a_pickle_is_passed_over(self, tmp_path: Path, png: bytes):
        trap = pickle.dumps(Trap(tmp_path / "sprung"))
        names = ("a.pyd", "a.pickle", "a.pkl", "a.pth", "a.left.pyd", "a.npy")
        write_tar(tmp_path, {"a.left.png": png, **dict.fromkeys(names, trap)})
        source = open_source(tmp_path)
        source.read_view(0, "left")
        assert [record.views for record in source.records] == [("left",)]
        assert not (tmp_path / "sprung").exists()

    @pytest.mark.parametrize("name", ["../a.left.png", "/a.left.png", "b/../../a.left.png", "b\\a.left.png"])
    def test_a_name_that_leaves_the_folder_is_refused(self, tmp_path: Path, png: bytes, name: str):
        write_tar(tmp_path, {name: png})
        with pytest.raises(InputError, match="such archives are refused"):
            open_source(tmp_path)

    @pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
    def test_links_and_special_files_are_refused(self, tmp_path: Path, kind: bytes):
        write_tar(tmp_path, {"a.left.png": b""}, type=kind, linkname="/etc/passwd")
        with pytest.raises(InputError, match="is no ordinary file"):
            open_source(tmp_path)

    def test_a_view_that_is_there_twice(self, tmp_path: Path, png: bytes):
        write_tar(tmp_path, {"a.left.png": png, "a.left.jpg": png})
        assert len(open_source(tmp_path)) == 1  # one sample; the last of the files counts
        write_tar(tmp_path, {"a.left.png": png}, number=1)
        with pytest.raises(InputError, match="view 'left' of a is there twice"):
            open_source(tmp_path)

    def test_cut_short(self, tmp_path: Path, png: bytes):
        path = write_tar(tmp_path, {"a.left.png": png * 3})
        path.write_bytes(path.read_bytes()[:900])
        with pytest.raises((InputError, UnreadableImage)):
            open_source(tmp_path).read_view(0, "left")
        path.write_bytes(b"\x00nonsense" * 100)
        with pytest.raises(InputError, match="not a readable tar file"):
            open_source(tmp_path)

    @pytest.mark.parametrize("told", [b"{", b"[]", b'{"views": 3}', b'{"views": {"left": {"label": "a/b"}}}'])
    def test_metadata_that_are_none(self, tmp_path: Path, png: bytes, told: bytes):
        write_tar(tmp_path, {"a.left.png": png, "a.json": told})
        with pytest.raises(InputError, match=r"shard-000000.tar!"):
            open_source(tmp_path)


class TestArray:
    PIXELS = np.arange(2 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 4, 4, 3)
    LINES = (
        {"key": "chair/a", "view": "left", "label": "chair"},
        {"key": "chair/a", "view": "front", "label": "chair"},
    )

    def test_pictures(self, tmp_path: Path):
        write_array(tmp_path, self.PIXELS, list(self.LINES))
        source = open_source(tmp_path)
        assert source.form == "npy"
        assert [(record.id, record.views) for record in source.records] == [("chair/a", ("front", "left"))]
        assert np.array_equal(source.read_view(0, "front").pixels, self.PIXELS[1])
        assert np.array_equal(pickle.loads(pickle.dumps(source)).read_view(0, "left").pixels, self.PIXELS[0])

    def test_objects_are_never_unpickled(self, tmp_path: Path):
        array = np.empty(1, object)
        array[0] = Trap(tmp_path / "sprung")
        write_array(tmp_path, array, [self.LINES[0]])
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
        write_array(tmp_path, array, list(self.LINES))
        with pytest.raises(InputError, match=message):
            open_source(tmp_path)

    def test_a_header_that_promises_more_than_there_is(self, tmp_path: Path):
        path = write_array(tmp_path, self.PIXELS, list(self.LINES))
        path.write_bytes(path.read_bytes()[:-10])
        with pytest.raises(InputError, match="not a readable array"):
            open_source(tmp_path)

    @pytest.mark.parametrize("line", ["{", "[]", '{"view": "left"}', '{"key": "../a", "view": "left"}'])
    def test_lines_that_are_none(self, tmp_path: Path, line: str):
        path = write_array(tmp_path, self.PIXELS[:1], [])
        path.with_suffix(".jsonl").write_text(line + "\n")
        with pytest.raises(InputError, match=r"shard-000000\.jsonl, line 1"):
            open_source(tmp_path)

    def test_without_lines(self, tmp_path: Path):
        np.save(tmp_path / "shard-000000.npy", self.PIXELS)
        with pytest.raises(InputError, match=r"shard-000000.jsonl: cannot be read"):
            open_source(tmp_path)


def test_both_forms_in_one_folder_are_refused(tmp_path: Path, png: bytes):
    write_tar(tmp_path, {"a.left.png": png})
    write_array(tmp_path, TestArray.PIXELS, list(TestArray.LINES))
    with pytest.raises(InputError, match="shards of two forms, npy and tar"):
        open_source(tmp_path)


def test_shards_have_no_splits(tmp_path: Path, png: bytes):
    write_tar(tmp_path, {"a.left.png": png})
    with pytest.raises(InputError, match="no splits"):
        open_source(tmp_path, split="test")
