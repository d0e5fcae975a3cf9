"""The NMR set in the DVR form: lists, folders of images, and what is in neither."""

from __future__ import annotations

import numpy as np
import pytest

from dimvida.data.cameras import Camera
from dimvida.data.conversion import composite_on_white
from dimvida.data.opening import open_source
from dimvida.errors import InputError, UnreadableImage

from .conftest import left_out

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
    assert source.view_names == ("front", "0001", "back", "0023")
    assert [(record.id, record.views) for record in source.records] == [("test/chair/c2", ("front", "0001", "0023"))]
    assert np.array_equal(source.read_view(0, "0023").pixels, composite_on_white(rgba(223)))
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


def test_a_synset_without_softras_lists_is_left_out(make, dvr_files, tmp_path):
    dvr_files[f"{TABLE}/train.lst"] = dvr_files.pop(f"{TABLE}/softras_train.lst")
    dvr_files |= {"chair/a/front.png": make.png(), "x.png": make.png(), "README": b"text"}
    source = open_source(make.folder(tmp_path / "nmr", dvr_files))
    assert source.classes == ("chair",)
    assert left_out(source) == {
        f"{CHAIR}/c2/image/0012.png": "of a listed object, not there",
        TABLE: "a synset without softras lists",
        "chair": "no synset, beside those of NMR",
        "x.png": "beside the synsets of the NMR set",
    }
    assert source.notes[-1] == "not read: 1 file that is no image (first: README)"


def test_objects_in_no_list_and_links_to_nothing_are_left_out(make, dvr_files, tmp_path):
    dvr_files[f"{CHAIR}/softras_train.lst"] = "c1\n"
    path = make.folder(tmp_path / "nmr", dvr_files)
    (path / "02691156").symlink_to("nowhere")
    (path / TABLE / "t9").symlink_to("nowhere")
    assert left_out(open_source(path)).items() >= {
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


def test_dvr_views_have_their_cameras(dvr_path):
    assert open_source(dvr_path).cameras == {
        name: Camera(azimuth, 30) for name, azimuth in zip(DEFAULT, (0, -90, -180, -270), strict=True)
    }
    others = open_source(dvr_path, split="test", nmr_views=(23, 1)).cameras
    assert others == {"0023": Camera(-345, 30), "0001": Camera(-15, 30)}
