"""Data sets with generated views: the pictures are those that generate writes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader

from dimvida.data.opening import open_source
from dimvida.errors import UnreadableImage
from dimvida.generation.dataset import GeneratedViews, StoredViews
from dimvida.generation.forms import FORMATS
from dimvida.generation.plan import make_plan
from dimvida.generation.run import Generation
from dimvida.generation.settings import resolve_settings
from dimvida.sampling.multiview import MultiViewModel, load

VIEWS = ("front", "right", "back", "left")
OBJECTS = {"chair/a": ("front",), "chair/b": ("right", "left"), "table/d": ("front", "back"), "table/e": ("left",)}


@pytest.fixture(scope="module")
def model(tiny_checkpoint: Path) -> MultiViewModel:
    return load(tiny_checkpoint)


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


def test_any_order_gives_the_same_and_each_batch_is_made_once(model, data: Path, monkeypatch):
    made = []
    original = MultiViewModel.generate
    monkeypatch.setattr(
        MultiViewModel,
        "generate",
        lambda self, views, *rest, **more: made.append(len(views)) or original(self, views, *rest, **more),
    )
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


def test_an_unreadable_object_is_an_error_of_its_own(model, data: Path):
    (data / "chair/b/left.png").write_bytes(b"")
    views = GeneratedViews(model, open_source(data))
    assert views[0]["id"] == "chair/a"
    with pytest.raises(UnreadableImage, match=r"chair/b/left.png: empty file"):
        views[1]
    with pytest.raises(UnreadableImage, match="empty file"):
        StoredViews(data)[1]
