from __future__ import annotations

import json
from collections import Counter

import pytest

from dimvida.data.opening import open_source
from dimvida.data.summary import example_rows, summarise


@pytest.fixture
def source(make, tmp_path):
    files = make.multi_view({"chair": 30, "table": 2}, "train") | make.multi_view({"chair": 4}, "test", start=32)
    del files["train/chair/chair_0001/right.png"]
    files["train/chair/chair_0002/left.png"] = b"no image"
    files["train/chair/chair_0003/left.png"] = make.png(0, 4, 6)
    files["train/chair/chair_0004/left.png"] = make.encode(make.pixels()[..., 0])
    return open_source(make.folder(tmp_path / "set", files))


def test_counts(source):
    summary = summarise(source, 10)
    assert summary.views == {"front": 36, "right": 35, "back": 36, "left": 36}
    assert summary.views_per_object == {3: 1, 4: 35}
    assert summary.classes == {"chair": {"test": 4, "train": 30}, "table": {"train": 2}}
    assert summary.image_count == 143
    assert summary.decoded == 10
    assert summary.sizes == {"8 x 8": 10}


def test_every_image_is_looked_at(source):
    done = []
    summary = summarise(source, None, done.append)
    assert summary.decoded == 143
    assert done == list(range(1, 144))
    assert summary.sizes == {"8 x 8": 141, "6 x 4": 1}
    assert summary.conversions == {"grayscale converted to RGB": 1}
    ((location, reason),) = summary.unreadable
    assert location.endswith("train/chair/chair_0002/left.png")
    assert reason.startswith("not an image")


def test_a_sample_is_spread_over_the_set(source, monkeypatch):
    seen, read_view = [], source.read_view
    monkeypatch.setattr(source, "read_view", lambda index, view: seen.append(index) or read_view(index, view))
    assert summarise(source, 20).decoded == 20
    assert len(set(seen)) == 20
    assert seen[0] == 0
    assert seen[-1] >= 33


@pytest.mark.parametrize(
    ("count", "classes"),
    [(1, {"chair": 1}), (2, {"chair": 1, "table": 1}), (8, {"chair": 6, "table": 2}), (99, {"chair": 34, "table": 2})],
)
def test_example_rows_are_spread_over_the_classes(source, count, classes):
    rows = example_rows(source, count)
    assert Counter(row.title.split("/")[-1] for row in rows) == classes
    assert len({row.title for row in rows}) == len(rows)


def test_example_tiles(source):
    row = {row.title: row for row in example_rows(source, 99)}
    tiles = row["chair_0001\ntrain/chair"].tiles
    assert [(tile.caption, tile.kind) for tile in tiles] == [
        ("front", "true"),
        ("right", "missing"),
        ("back", "true"),
        ("left", "true"),
    ]
    unreadable = row["chair_0002\ntrain/chair"].tiles[3]
    assert (unreadable.kind, unreadable.image) == ("missing", None)


def test_generated_views_are_told_from_given_ones(make, tmp_path):
    kinds = {"front": "real", "back": "generated"}
    files = {f"cat/a__{view}.png": make.png() for view in kinds}
    files["metadata.jsonl"] = "\n".join(
        json.dumps({"file_name": f"cat/a__{view}.png", "view": view, "kind": kind}) for view, kind in kinds.items()
    )
    (row,) = example_rows(open_source(make.folder(tmp_path / "out", files)), 5)
    assert [(tile.caption, tile.kind) for tile in row.tiles] == [("front", "given"), ("back", "generated")]
