from __future__ import annotations

import multiprocessing

import numpy as np
import pytest
import torch
from PIL import Image

from dimvida.data.batch import MultiViewBatch, load_all, load_batch
from dimvida.data.opening import open_source
from dimvida.errors import DimvidaError, InputError


@pytest.fixture
def path(make, tmp_path):
    files = make.multi_view({"chair": 3, "table": 2}, "train")
    del files["train/chair/chair_0001/right.png"]
    return make.zip(tmp_path / "set.zip", files)


def batch_of(**changes) -> MultiViewBatch:
    values = {
        "images": torch.zeros(2, 3, 3, 4, 4, dtype=torch.uint8),
        "known": torch.ones(2, 3, dtype=torch.bool),
        "labels": torch.zeros(2, dtype=torch.int64),
        "ids": ("a", "b"),
        "view_names": ("x", "y", "z"),
    }
    return MultiViewBatch(**{**values, **changes})


def test_rows_follow_the_indices(make, path):
    source = open_source(path)
    batch, bad, notes = load_batch(source, [4, 1], image_size=8)
    assert batch.images.shape == (2, 4, 3, 8, 8)
    assert batch.ids == ("train/table/table_0001", "train/chair/chair_0001")
    assert batch.labels.tolist() == [1, 0]
    assert batch.view_names == ("front", "right", "back", "left")
    assert batch.known.tolist() == [[True] * 4, [True, False, True, True]]
    for view in range(4):
        expected = torch.from_numpy(make.pixels(40 + view)).permute(2, 0, 1)
        assert torch.equal(batch.images[0, view], expected)
    assert not batch.images[1, 1].any()
    assert (bad, notes) == ([], [])
    assert len(batch) == 2


def test_view_names_arrange_the_columns(make, path):
    source = open_source(path)
    names = ("left", "top", "back", "front", "right")
    batch, _, _ = load_batch(source, [0], image_size=8, view_names=names)
    assert batch.view_names == names
    assert batch.known.tolist() == [[True, False, True, True, True]]
    assert torch.equal(batch.images[0, 2], torch.from_numpy(make.pixels(2)).permute(2, 0, 1))
    with pytest.raises(InputError, match=r"set\.zip: view 'right' is not one of front, back, left"):
        load_batch(source, [0], image_size=8, view_names=("front", "back", "left"))


def test_classes_give_the_labels(path):
    source = open_source(path)
    batch, _, _ = load_batch(source, [0, 4], image_size=8, classes=("table", "lamp", "chair"))
    assert batch.labels.tolist() == [2, 0]
    with pytest.raises(InputError, match="class 'table' of object train/table/table_0000 is not one of lamp, chair"):
        load_batch(source, [3], image_size=8, classes=("lamp", "chair"))


def test_unlabeled_is_minus_one(make, tmp_path):
    source = open_source(make.folder(tmp_path / "set", {"a.png": make.png()}), view="front")
    batch, _, _ = load_batch(source, [0], image_size=8, view_names=("front", "back"))
    assert batch.labels.tolist() == [-1]
    assert batch.known.tolist() == [[True, False]]


def test_other_sizes_are_resized_with_a_note_or_refused(make, tmp_path):
    files = {"cat/a.png": make.png(0, 16, 16), "cat/b.png": make.png(1, 8, 16), "cat/c.png": make.png(2, 16, 16)}
    source = open_source(make.folder(tmp_path / "set", files), view="front")
    batch, _, notes = load_all(source, image_size=8)
    assert batch.images.shape == (3, 1, 3, 8, 8)
    assert notes == [
        f"resized to 8 x 8: 2 images (first: {tmp_path}/set/cat/a.png)",
        f"padded to a square and resized to 8 x 8: 1 image (first: {tmp_path}/set/cat/b.png)",
    ]
    with pytest.raises(InputError, match=r"cat/b\.png: 16 x 8 pixels instead of 16 x 16; resize it, or leave out"):
        load_all(source, image_size=16, strict=True)
    load_batch(source, [0, 2], image_size=16, strict=True)


def test_conversions_are_noted(make, tmp_path):
    files = {f"cat/{number}.png": make.encode(make.pixels(number)[..., 0]) for number in range(3)}
    _, _, notes = load_all(open_source(make.folder(tmp_path / "set", files), view="front"), image_size=8)
    assert notes == [f"grayscale converted to RGB: 3 images (first: {tmp_path}/set/cat/0.png)"]


@pytest.mark.parametrize("workers", [0, 2])
def test_unreadable_views_are_absent_and_listed(make, tmp_path, workers):
    files = make.multi_view({"chair": 40, "table": 40})
    files["chair/chair_0001/front.png"] = b"not an image"
    files["table/table_0030/left.png"] = files["table/table_0030/left.png"][:50]
    source = open_source(make.folder(tmp_path / "set", files))
    batch, bad, _ = load_all(source, image_size=8, workers=workers)
    assert [file.location for file in bad] == [
        f"{tmp_path}/set/chair/chair_0001/front.png",
        f"{tmp_path}/set/table/table_0030/left.png",
    ]
    assert bad[0].reason.startswith("not an image")
    assert bad[1].reason.startswith("damaged")
    absent = (~batch.known).nonzero().tolist()
    assert absent == [[1, 0], [70, 3]]
    assert torch.equal(batch.images[79, 2], torch.from_numpy(make.pixels(792)).permute(2, 0, 1))
    assert not batch.images[1, 0].any()


@pytest.mark.parametrize("workers", [0, 1])
def test_progress_counts_objects(make, tmp_path, workers):
    source = open_source(make.zip(tmp_path / "set.zip", make.multi_view({"chair": 150})))
    done = []
    load_all(source, image_size=8, workers=workers, progress=done.append)
    assert done == sorted(done)
    assert len(done) > 1
    assert done[-1] == 150


def test_errors_of_workers_are_errors_here(make, tmp_path):
    source = open_source(make.zip(tmp_path / "set.zip", make.multi_view({"chair": 2})))
    with pytest.raises(InputError, match=r"^[^\n]*front\.png: 8 x 8 pixels instead of 16 x 16[^\n]*$"):
        load_all(source, image_size=16, strict=True, workers=1)


def test_a_reading_process_that_is_killed_is_said_in_one_line(make, tmp_path):
    files = {f"cat/{number}.png": make.png(number) for number in range(1000)}
    source = open_source(make.folder(tmp_path / "set", files), view="front")

    def kill(done: int) -> None:
        for process in multiprocessing.active_children():
            process.kill()

    with pytest.raises(DimvidaError, match=r"^a reading process died, perhaps of memory: try fewer --workers$"):
        load_all(source, image_size=8, workers=1, progress=kill)


@pytest.mark.parametrize("shape", [(1, 300_000), (300_000, 1)])
def test_a_strip_is_an_image_like_others(make, tmp_path, shape):
    files = {"cat/a.png": make.png(1), "cat/b.png": make.encode(np.full(shape, 200, np.uint8))}
    source = open_source(make.folder(tmp_path / "set", files), view="front")
    batch, bad, notes = load_all(source, image_size=8)
    assert not bad and batch.known.all()
    assert (batch.images[1] == 200).all()
    assert any(note.startswith("padded to a square and resized to 8 x 8: 1 image") for note in notes)


def test_nothing_to_load(path):
    batch, bad, notes = load_batch(open_source(path), [], image_size=8)
    assert (len(batch), bad, notes) == (0, [], [])
    assert batch.images.shape == (0, 4, 3, 8, 8)


def test_moves_between_devices():
    batch = batch_of()
    moved = batch.to("meta")
    assert {moved.images.device.type, moved.known.device.type, moved.labels.device.type} == {"meta"}
    assert moved.ids == batch.ids
    assert batch.images.device.type == "cpu"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"images": torch.zeros(2, 3, 3, 4, 4)}, "not uint8"),
        ({"images": torch.zeros(2, 3, 4, 4, 3, dtype=torch.uint8)}, r"\[B, V, 1 or 3, H, W\]"),
        ({"known": torch.ones(2, 2, dtype=torch.bool)}, r"not bool \[2, 3\]"),
        ({"known": torch.ones(2, 3)}, "not bool"),
        ({"labels": torch.zeros(3, dtype=torch.int64)}, r"not int64 \[2\]"),
        ({"labels": torch.zeros(2)}, "not int64"),
        ({"ids": ("a",)}, "1 ids for 2 objects"),
        ({"view_names": ("x", "y")}, "for 3 views"),
        ({"view_names": ("x", "y", "x")}, "for 3 views"),
    ],
)
def test_batch_that_does_not_fit_together(change, reason):
    with pytest.raises(ValueError, match=reason):
        batch_of(**change)


def test_real_data(modelnet_zip):
    source = open_source(modelnet_zip, split="test").select(range(0, 626, 50))
    batch, bad, notes = load_all(source, image_size=64)
    assert batch.images.shape == (13, 4, 3, 64, 64)
    assert batch.known.all()
    assert (bad, notes) == ([], [])
    # Objects on white: the corners are white and the middles mostly not.
    assert np.array_equal(batch.images[..., 0, 0].unique().numpy(), [255])
    assert (batch.images[..., 24:40, 24:40] < 250).any(dim=2).float().mean() > 0.5


def test_gray_batches(make, path):
    source = open_source(path)
    batch, bad, notes = load_batch(source, [4, 1], image_size=8, channels=1)
    assert batch.images.shape == (2, 4, 1, 8, 8) and not bad
    luma = np.asarray(Image.fromarray(make.pixels(40)).convert("L"))
    assert np.array_equal(batch.images[0, 0, 0], luma)
    assert notes == [f"colour converted to grayscale: 7 images (first: {path}!train/table/table_0001/front.png)"]
    resized, _, notes = load_all(source, image_size=4, channels=1, workers=1)
    assert resized.images.shape == (5, 4, 1, 4, 4) and len(notes) == 2
