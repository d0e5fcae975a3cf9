from __future__ import annotations

import hashlib
import os
import pickle

import numpy as np
import pytest

from dimvida.data.conversion import composite_on_white
from dimvida.data.nmr_arrays import SYNSETS, load_views, object_count
from dimvida.data.opening import open_source
from dimvida.data.source import RecentArrays
from dimvida.errors import InputError, UnreadableImage

CHAIR, TABLE = "03001627", "04379243"
DEFAULT = ("front", "right", "back", "left")


def rgba(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (8, 8, 4)).astype(np.uint8)


@pytest.fixture
def dvr_files(make):
    """Two synsets; the chair of the test split lacks view 12, and a listed table is not there."""
    files = {
        f"{CHAIR}/softras_train.lst": "c1\nc0\n",
        f"{CHAIR}/softras_test.lst": "c2\n",
        f"{TABLE}/softras_train.lst": "t0\r\ngone\r\n\r\n",
    }
    for number, folder in enumerate((f"{CHAIR}/c0", f"{CHAIR}/c1", f"{CHAIR}/c2", f"{TABLE}/t0")):
        for view in range(24):
            files[f"{folder}/image/{view:04d}.png"] = make.encode(rgba(100 * number + view))
            files[f"{folder}/mask/{view:04d}.png"] = make.png()
        files[f"{folder}/cameras.npz"] = b"ignored"
    del files[f"{CHAIR}/c2/image/0012.png"]
    return files


@pytest.fixture(params=["folder", "zip", "wrapped"])
def dvr_path(request, make, dvr_files, tmp_path):
    if request.param == "folder":
        return make.folder(tmp_path / "NMR_Dataset", dvr_files)
    files = {f"NMR_Dataset/{name}": data for name, data in dvr_files.items()}
    return make.zip(tmp_path / "nmr.zip", files) if request.param == "zip" else make.folder(tmp_path / "x", files)


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


def test_dvr_records(dvr_path):
    source = open_source(dvr_path)
    assert source.form == "nmr-dvr"
    assert source.view_names == DEFAULT
    assert source.classes == ("chair", "table")
    assert source.splits == ("train", "test")
    assert [(record.id, record.views) for record in source.records] == [
        ("train/chair/c1", DEFAULT),
        ("train/chair/c0", DEFAULT),
        ("test/chair/c2", ("front", "right", "left")),
        ("train/table/t0", DEFAULT),
    ]
    assert len(source.notes) == 2
    assert source.notes[0].startswith("left out: 1 file, of a listed object, not there (first: ")
    assert source.notes[0].endswith(f"{CHAIR}/c2/image/0012.png)")
    assert source.notes[1].startswith("left out: 1 file, a listed object without images (first: ")
    assert source.notes[1].endswith(f"{TABLE}/gone)")
    assert [file.location[-10:] for file in source.left_out] == ["e/0012.png", "04379243/gone"[-10:]]


def test_dvr_views_are_those_of_the_azimuths(dvr_path):
    source = open_source(dvr_path)
    for place, view in enumerate(DEFAULT):
        image = source.read_view(1, view)  # c0, the object of seed 0
        assert np.array_equal(image.pixels, composite_on_white(rgba(6 * place)))
        assert image.note is None
        assert source.location(1, view).endswith(f"c0/image/{6 * place:04d}.png")


def test_dvr_split_and_chosen_views(dvr_path):
    source = open_source(dvr_path, split="test", nmr_views=(0, 1, 12, 23))
    assert source.view_names == ("view00", "view01", "view12", "view23")
    assert [(record.id, record.views) for record in source.records] == [
        ("test/chair/c2", ("view00", "view01", "view23"))
    ]
    assert np.array_equal(source.read_view(0, "view23").pixels, composite_on_white(rgba(223)))
    assert source.classes == ("chair", "table")
    with pytest.raises(InputError, match="no split 'val'; it has test, train"):
        open_source(dvr_path, split="val")


def test_dvr_image_that_is_damaged(make, dvr_files, tmp_path):
    dvr_files[f"{CHAIR}/c0/image/0006.png"] = b"\x89PNG\r\n\x1a\nrubbish"
    source = open_source(make.folder(tmp_path / "nmr", dvr_files))
    with pytest.raises(UnreadableImage, match=r"c0/image/0006\.png"):
        source.read_view(1, "right")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"c0\n../c1\n", r"line 2: '\.\./c1' is not an object id"),
        (b"c0 c1\n", "line 1: 'c0 c1' is not an object id"),
        (b"c0\nc1\nc0\n", "lines 1 and 3: object c0 is listed twice"),
        (b"\xff\xfec\0", "not a text file of object ids"),
    ],
)
def test_dvr_bad_list(make, dvr_files, tmp_path, content, reason):
    dvr_files[f"{CHAIR}/softras_train.lst"] = content
    with pytest.raises(InputError, match=rf"softras_train\.lst.*{reason}"):
        open_source(make.folder(tmp_path / "nmr", dvr_files))


def test_dvr_lists_without_any_image(make, tmp_path):
    with pytest.raises(InputError, match="none of the objects in the softras lists"):
        open_source(make.folder(tmp_path / "nmr", {f"{CHAIR}/softras_train.lst": "a\nb\n"}))


def left_out(source) -> set[tuple[str, str]]:
    return {(file.location.removeprefix(f"{source.path}/"), file.reason) for file in source.left_out}


def test_a_synset_without_softras_lists_is_left_out(make, dvr_files, tmp_path):
    dvr_files[f"{TABLE}/train.lst"] = dvr_files.pop(f"{TABLE}/softras_train.lst")
    dvr_files |= {"chair/a/front.png": make.png(), "x.png": make.png(), "README": b"text"}
    source = open_source(make.folder(tmp_path / "nmr", dvr_files))
    assert source.classes == ("chair",)
    assert left_out(source) == {
        (f"{CHAIR}/c2/image/0012.png", "of a listed object, not there"),
        (TABLE, "a synset without softras lists"),
        ("chair", "no synset, beside those of NMR"),
        ("x.png", "beside the synsets of the NMR set"),
    }
    assert source.notes[-1] == "not read: 1 file that is no image (first: README)"


def test_objects_in_no_list_and_links_to_nothing_are_left_out(make, dvr_files, tmp_path):
    dvr_files[f"{CHAIR}/softras_train.lst"] = "c1\n"
    path = make.folder(tmp_path / "nmr", dvr_files)
    (path / "02691156").symlink_to("nowhere")
    (path / TABLE / "t9").symlink_to("nowhere")
    assert left_out(open_source(path)) >= {
        (f"{CHAIR}/c0", "an object in no list"),
        ("02691156", "a link to nothing"),
        (f"{TABLE}/t9", "a link to nothing"),
    }


@pytest.mark.parametrize("wrapper", ["", "NMR_Dataset/"])
@pytest.mark.parametrize("lists", [[], ["train.lst"]])
def test_dvr_without_any_softras_list_is_refused(make, dvr_files, tmp_path, wrapper, lists):
    files = {f"{wrapper}{name}": data for name, data in dvr_files.items() if not name.endswith(".lst")}
    files |= {f"{wrapper}{CHAIR}/{name}": "c0\n" for name in lists}
    with pytest.raises(InputError, match=r"synset 0\d+ of the NMR set without its lists; put softras_train\.lst"):
        open_source(make.folder(tmp_path / "nmr", files))


def test_lists_with_a_byte_order_mark(make, dvr_files, tmp_path):
    dvr_files[f"{CHAIR}/softras_train.lst"] = b"\xef\xbb\xbfc1\r\nc0\r\n"
    source = open_source(make.folder(tmp_path / "nmr", dvr_files), split="train")
    assert [record.name for record in source.records] == ["c1", "c0", "t0"]


def test_one_synset_of_dvr(make, dvr_files, tmp_path):
    with pytest.raises(InputError, match="one synset of the NMR set; give the folder above it"):
        open_source(make.folder(tmp_path / "nmr", dvr_files) / CHAIR)


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
    assert source.view_names[0] == "view23"
    assert np.array_equal(
        source.read_view(0, "view01").pixels, composite_on_white(array(1, 1)[0, 1].transpose(1, 2, 0))
    )


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
        ("more", "beside the arrays of the NMR set"),
        ("02691156_train_images.npz", "a link to nothing"),
        ("02691156_val_images.npz", "neither a file nor a folder"),
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
