"""The NMR set in the SoftRas form: arrays that may be larger than memory."""

from __future__ import annotations

import hashlib
import os
import pickle

import numpy as np
import pytest

from dimvida.data.cameras import Camera
from dimvida.data.conversion import composite_on_white
from dimvida.data.nmr_arrays import SYNSETS, load_views, object_count
from dimvida.data.opening import open_source
from dimvida.data.source import RecentArrays
from dimvida.errors import InputError

from .conftest import left_out

CHAIR, TABLE = "03001627", "04379243"
DEFAULT = ("front", "right", "back", "left")


def array(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 24, 4, 8, 8)).astype(np.uint8)


@pytest.fixture
def softras_path(tmp_path):
    folder = tmp_path / "softras"
    folder.mkdir()
    np.savez_compressed(folder / f"{CHAIR}_train_images.npz", array(3, 0))
    np.savez(folder / f"{CHAIR}_test_images.npz", array(1, 1))
    np.savez_compressed(folder / f"{TABLE}_train_images.npz", array(2, 2))
    np.savez_compressed(folder / f"{TABLE}_train_voxels.npz", np.zeros((2, 32, 32, 32)))
    return folder


def test_thirteen_classes():
    assert len(SYNSETS) == len(set(SYNSETS.values())) == 13


@pytest.mark.parametrize("views", [(0,), (), (0, 24), (-1, 0), (3, 3)])
def test_unusable_choice_of_views(softras_path, views):
    with pytest.raises(InputError, match="choose two or more different ones of 0 to 23"):
        open_source(softras_path, nmr_views=views)


def test_softras_records(softras_path):
    source = open_source(softras_path)
    assert source.form == "nmr-softras"
    assert source.view_names == DEFAULT
    assert source.classes == ("chair", "table")
    assert source.splits == ("train", "test")
    assert [record.id for record in source.records] == [
        "test/chair/00000",
        "train/chair/00000",
        "train/chair/00001",
        "train/chair/00002",
        "train/table/00000",
        "train/table/00001",
    ]
    assert [record.id for record in open_source(softras_path, split="test").records] == ["test/chair/00000"]


def test_softras_pixels(softras_path):
    source = open_source(softras_path)
    stored = array(2, 2)
    for row in (0, 1):
        for place, view in enumerate(DEFAULT):
            image = source.read_view(4 + row, view)
            assert np.array_equal(image.pixels, composite_on_white(stored[row, 6 * place].transpose(1, 2, 0)))
            assert image.sha256 == hashlib.sha256(stored[row, 6 * place].tobytes()).hexdigest()
    assert source.location(5, "left") == f"{softras_path}/{TABLE}_train_images.npz[1, view 18]"


def test_softras_chosen_views(softras_path):
    source = open_source(softras_path, split="test", nmr_views=range(23, -1, -1))
    assert source.view_names[0] == "0023"
    assert np.array_equal(source.read_view(0, "0001").pixels, composite_on_white(array(1, 1)[0, 1].transpose(1, 2, 0)))


def test_softras_in_another_process(softras_path):
    source = open_source(softras_path)
    before = source.read_view(3, "back")
    copy = pickle.loads(pickle.dumps(source.select([3])))
    assert np.array_equal(copy.read_view(0, "back").pixels, before.pixels)


def test_what_is_beside_the_arrays_is_left_out(softras_path):
    (softras_path / "more").mkdir()
    (softras_path / "02691156_train_images.npz").symlink_to("nowhere")
    (softras_path / f"{CHAIR}_train_voxels.npz").write_bytes(b"")
    os.mkfifo(softras_path / "02691156_val_images.npz")
    source = open_source(softras_path)
    assert left_out(source) == {
        "more": "beside the arrays of the NMR set",
        "02691156_train_images.npz": "a link to nothing",
        "02691156_val_images.npz": "neither a file nor a folder",
    }
    assert source.notes[-1].startswith("not read: 2 files that are no images")


def test_only_headers_are_read_on_opening(softras_path):
    path = softras_path / f"{CHAIR}_train_images.npz"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    source = open_source(softras_path)
    assert len(source) == 6
    assert source.read_view(0, "front").pixels.shape == (8, 8, 3)
    with pytest.raises(InputError, match=r"03001627_train_images\.npz: not a readable NMR image array"):
        source.read_view(1, "front")


def test_changed_pixels_are_found_by_their_checksum(softras_path):
    path = softras_path / f"{CHAIR}_test_images.npz"  # stored without compression
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"not a readable NMR image array .*CRC"):
        open_source(softras_path, split="test").read_view(0, "front")


@pytest.mark.parametrize(
    "value",
    [
        np.zeros((2, 24, 4, 8, 8), np.float32),
        np.zeros((2, 23, 4, 8, 8), np.uint8),
        np.zeros((2, 24, 3, 8, 8), np.uint8),
        np.zeros((2, 24, 4), np.uint8),
        np.zeros((2, 24, 4, 0, 8), np.uint8),
        np.asfortranarray(array(2, 0)),
        np.array([{"pickled": "object"}], object),
    ],
)
def test_other_arrays_are_refused(tmp_path, value):
    np.savez(tmp_path / f"{CHAIR}_val_images.npz", value)
    with pytest.raises(InputError, match=r"not a readable NMR image array \(its first array is"):
        open_source(tmp_path)


def test_damaged_archive(tmp_path):
    (tmp_path / f"{CHAIR}_val_images.npz").write_bytes(b"no zip")
    with pytest.raises(InputError, match="not a readable NMR image array"):
        open_source(tmp_path)


def test_header_that_promises_too_much(make, tmp_path):
    header = b"\x93NUMPY\x01\x00" + (118).to_bytes(2, "little")
    text = b"{'descr': '|u1', 'fortran_order': False, 'shape': (1000000000, 24, 4, 64, 64)}"
    path = make.zip(tmp_path / f"{CHAIR}_val_images.npz", {"arr_0.npy": header + text.ljust(117) + b"\n" + b"x" * 50})
    with pytest.raises(InputError, match="the array is shorter than its header says"):
        object_count(path)


def test_arrays_in_a_zip_have_to_be_unpacked(make, softras_path, tmp_path):
    path = make.zip(tmp_path / "all.zip", {file.name: file.read_bytes() for file in softras_path.iterdir()})
    with pytest.raises(InputError, match="holds NMR arrays; unpack it and give the folder"):
        open_source(path)


def test_cache_keeps_what_fits(softras_path):
    loads = []

    def counting(path):
        loads.append(path.name[:14])
        return load_views(path, (0, 6))

    paths = [softras_path / f"{name}_images.npz" for name in (f"{CHAIR}_train", f"{CHAIR}_test", f"{TABLE}_train")]
    sizes = [2 * 4 * 64 * count for count in (3, 1, 2)]
    cache = RecentArrays(counting, most_bytes=sizes[0] + sizes[1])
    for number in (0, 1, 0, 1):
        cache.get(paths[number])
    assert loads == ["03001627_train", "03001627_test_"]
    cache.get(paths[2])  # room is made by dropping array 0, which was not used for longest
    cache.get(paths[1])
    assert len(loads) == 3
    cache.get(paths[0])
    assert len(loads) == 4


def test_one_folder_may_be_around_the_set(softras_path):
    assert [path.name for path in softras_path.parent.iterdir()] == ["softras"]
    assert len(open_source(softras_path.parent, split="test")) == 1


def test_softras_views_have_their_cameras(softras_path):
    assert open_source(softras_path).cameras["left"] == Camera(-270, 30)
    assert open_source(softras_path, nmr_views=(2, 5)).cameras == {"0002": Camera(-30, 30), "0005": Camera(-75, 30)}
