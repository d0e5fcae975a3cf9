from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest
import torch

from dimvida.data.opening import open_source
from dimvida.data.sheets import example_rows, view_tiles


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


@pytest.mark.parametrize("channels", [1, 3])
def test_tiles_of_a_batch(channels):
    views = torch.arange(2 * channels * 4 * 5, dtype=torch.uint8).reshape(2, channels, 4, 5)
    one, two = view_tiles(views, ["front", "left"], ["given", "generated"])
    assert [(one.caption, one.kind), (two.caption, two.kind)] == [("front", "given"), ("left", "generated")]
    assert np.array_equal(two.image, views[1].permute(1, 2, 0).numpy())
    one, two = view_tiles(views.numpy(), ["front", "left"], "true", torch.tensor([False, True]))
    assert [(one.image, one.kind), two.kind] == [(None, "missing"), "true"]
