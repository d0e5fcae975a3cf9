"""Data sets with generated views: the pictures are those that generate writes."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from helpers.objects import VIEWS
from torch.utils.data import DataLoader

from dimvida.data.opening import open_source
from dimvida.errors import InputError, UnreadableImage
from dimvida.generation.dataset import GeneratedViews, StoredViews
from dimvida.generation.formats import FORMATS
from dimvida.generation.plan import make_plan
from dimvida.generation.run import Generation
from dimvida.generation.settings import resolve_settings
from dimvida.sampling.multiview import MultiViewModel

OBJECTS = {"chair/a": ("front",), "chair/b": ("right", "left"), "table/d": ("front", "back"), "table/e": ("left",)}


@pytest.fixture
def data(tmp_path: Path, write_objects) -> Path:
    return write_objects(tmp_path / "data", OBJECTS)


def same(a: dict, b: dict) -> bool:
    return (
        a["id"].rpartition("/")[2] == b["id"].rpartition("/")[2]
        and a["label"] == b["label"]
        and torch.equal(a["known"], b["known"])
        and int((a["views"].int() - b["views"].int()).abs().max()) <= 1
    )


@pytest.mark.parametrize("form", FORMATS)
def test_what_is_computed_is_what_is_written(model, data: Path, tmp_path: Path, form: str):
    plan = make_plan(open_source(data), VIEWS)
    settings = resolve_settings(model, seed=5, include_known=True, format=form)
    with Generation(model, plan, settings, tmp_path / "out") as generation:
        generation.run()
    stored = StoredViews(tmp_path / "out", view_names=VIEWS)
    computed = GeneratedViews(model, open_source(data), seed=5, batch=3)
    assert len(stored) == len(computed) == 4
    assert stored.classes == computed.classes == ("chair", "table")
    by_id = {item["id"]: item for item in (stored[i] for i in range(4))}
    assert all(same(item, by_id[item["id"]]) for item in (computed[i] for i in range(4)))
    assert by_id["chair/b"]["known"].tolist() == [False, True, False, True]


def test_data_in_memory_are_as_those_on_disk(model, data: Path):
    """Which commands refuse, as it is gone when they end."""
    fs = pytest.importorskip("fsspec").filesystem("memory")
    fs.put(f"{data}/", "/generated-views", recursive=True)
    try:
        remote = GeneratedViews(model, "memory://generated-views")
        for ours, theirs in zip(remote, GeneratedViews(model, data), strict=True):
            assert ours["id"] == theirs["id"] and torch.equal(ours["views"], theirs["views"])
    finally:
        fs.rm("/generated-views", recursive=True)


def test_any_order_gives_the_same_and_each_batch_is_made_once(model, data: Path, monkeypatch):
    made = []
    original = MultiViewModel.generate

    def generate(self, views, *rest, **more):
        if len(views):  # it is asked for none when options are tried
            made.append(len(views))
        return original(self, views, *rest, **more)

    monkeypatch.setattr(MultiViewModel, "generate", generate)
    forward = GeneratedViews(model, open_source(data), batch=3)
    items = [forward[i] for i in range(4)]
    assert made == [3, 1]
    backward = GeneratedViews(model, open_source(data), batch=3)
    assert all(same(backward[i], items[i]) for i in (3, 0, 2, 1, 0))
    assert made == [3, 1, 1, 3]
    few = GeneratedViews(model, open_source(data), batch=1, keep=1)
    assert all(same(few[i], items[i]) for i in (0, 1, 0, 0))
    assert made[4:] == [1, 1, 1]
    assert same(few[-1], items[3])
    with pytest.raises(IndexError):
        few[4]


def test_loaders_batch_them(model, data: Path, tmp_path: Path):
    loader = DataLoader(GeneratedViews(model, open_source(data)), batch_size=2, shuffle=True)
    batches = list(loader)
    assert [tuple(batch["views"].shape) for batch in batches] == [(2, 4, 3, 16, 16)] * 2
    assert sorted(name for batch in batches for name in batch["id"]) == sorted(OBJECTS)
    stored = DataLoader(StoredViews(data), batch_size=4, num_workers=1)
    (batch,) = stored
    assert batch["known"].sum() == sum(map(len, OBJECTS.values()))
    assert batch["label"].tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize(
    ("start", "form"),
    [("fork", "path"), ("spawn", "path"), ("spawn", "source"), ("spawn", "zip"), ("forkserver", "zip")],
)
def test_worker_processes_take_it_however_they_start(model, data: Path, start: str, form: str):
    packed = shutil.make_archive(str(data), "zip", data)
    source = {"path": data, "zip": packed, "source": open_source(data)}[form]
    views = GeneratedViews(model, source, batch=2, seed=5)
    expected = [views[i] for i in range(4)]  # what is made, and the lock, stay behind
    # Starting one takes longest, so there are several once for each way.
    options = {"batch_size": None, "multiprocessing_context": start}
    got = list(DataLoader(views, num_workers=2 if form == "path" else 1, **options))
    assert len(got) == 4 and all(map(same, got, expected))
    if form != "source":  # which stored views are not made of
        stored = list(DataLoader(StoredViews(source), num_workers=1, **options))
        assert [item["id"] for item in stored] == [item["id"] for item in expected]


def test_threads_share_one(model, data: Path):
    expected = [GeneratedViews(model, data, seed=5)[i] for i in range(4)]
    views = GeneratedViews(model, data, batch=2, keep=1, seed=5)
    with ThreadPoolExecutor(4) as pool:
        got = list(pool.map(lambda place: views[place % 4], range(24)))
    assert all(same(item, expected[place % 4]) for place, item in enumerate(got))


def test_a_path_opens_as_for_generate(model, data: Path, tmp_path: Path, monkeypatch, tiny_image):
    expected = GeneratedViews(model, open_source(data))[1]
    monkeypatch.setenv("HOME", str(tmp_path))
    for source in (data, str(data), "~/data"):
        assert same(GeneratedViews(model, source)[1], expected)
    assert StoredViews("~/data")[1]["id"] == StoredViews(data)[1]["id"]
    (tmp_path / "single/chair").mkdir(parents=True)
    tiny_image().save(tmp_path / "single/chair/a.png")
    for given in ("left", ["left"]):
        assert GeneratedViews(model, tmp_path / "single", given=given)[0]["known"].tolist() == [False] * 3 + [True]
    with pytest.raises(InputError, match="no such file or folder"):
        GeneratedViews(model, tmp_path / "nothing")


def test_what_is_written_into_an_item_stays_there(model, data: Path):
    views = GeneratedViews(model, data)
    first = views[0]
    kept = first["views"].clone()
    first["views"].zero_()
    first["known"].zero_()
    assert torch.equal(views[0]["views"], kept) and views[0]["known"].any()


def test_items_made_in_inference_mode_can_be_written_outside(model, data: Path):
    views = GeneratedViews(model, data)
    with torch.inference_mode():
        assert views[0]["views"].shape == (4, 3, 16, 16)
    item = views[0]
    item["views"].add_(1)
    assert not item["views"].is_inference() and not item["known"].is_inference()


def test_damaged_files_are_left_out_on_request_and_named(model, data: Path):
    complete = GeneratedViews(model, data, seed=5)
    expected = [complete[i] for i in (0, 2, 3)]
    (data / "chair/b/left.png").write_bytes(b"no image")
    for batch in (1, 2, 256):
        with pytest.warns(UserWarning, match="left out 1 of 4 objects.*chair/b/left.png"):
            views = GeneratedViews(model, data, seed=5, batch=batch, skip_bad=True)
        assert [(file.file, file.source) for file in views.skipped] == [("chair/b/left.png", "chair/b")]
        assert len(views) == 3 and all(same(views[i], expected[i]) for i in range(3))
    for name in OBJECTS:
        for file in (data / name).iterdir():
            file.write_bytes(b"")
    with pytest.raises(InputError, match=r"none of 4 objects can be read \(chair/a/front.png: empty file\)"):
        GeneratedViews(model, data, skip_bad=True)


def test_nothing_damaged_is_no_warning(model, data: Path, recwarn):
    views = GeneratedViews(model, data, skip_bad=True)
    assert views.skipped == () and len(views) == 4 and not recwarn.list


def test_an_unreadable_object_is_an_error_of_its_own(model, data: Path):
    (data / "chair/b/left.png").write_bytes(b"")
    views = GeneratedViews(model, open_source(data))
    assert views[0]["id"] == "chair/a"
    with pytest.raises(UnreadableImage, match=r"chair/b/left.png: empty file"):
        views[1]
    with pytest.raises(UnreadableImage, match="empty file"):
        StoredViews(data)[1]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"batch": 0}, InputError, "batch must be at least 1"),
        ({"batch": 2.5}, InputError, "batch must be a whole number"),
        ({"keep": -1}, InputError, "keep must be at least 0"),
        ({"steps": 0}, InputError, "steps must be at least 1"),
        ({"solver": ""}, InputError, "unknown solver ''"),
        ({"dtype": "float32"}, InputError, "dtype 'float32': choose from torch.float32"),
        ({"step": 2}, TypeError, "step"),
    ],
)
def test_options_that_do_not_fit_are_met_when_it_is_made(model, data: Path, options: dict, error, message: str):
    with pytest.raises(error, match=message):
        GeneratedViews(model, data, **options)
