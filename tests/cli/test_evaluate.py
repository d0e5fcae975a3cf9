"""``dimvida evaluate``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest


@pytest.fixture
def evaluate(dimvida, tiny_checkpoint: Path):
    def call(data: Path, *options: object):
        return dimvida("evaluate", "--data", data, "--checkpoint", tiny_checkpoint, "--steps", 2, *options)

    return call


def test_a_table_and_json(evaluate, objects: Path, tmp_path: Path):
    result = evaluate(objects, "--json", tmp_path / "scores.json")
    assert result.code == 0, result.err
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert [(s["known"], s["subsets"], s["ssim"]["pictures"]) for s in scores["known"]] == [
        (1, 4, 3 * 4 * 3),
        (2, 6, 3 * 6 * 2),
        (3, 4, 3 * 4 * 1),
    ]
    assert scores["reconstruction"]["ssim"]["pictures"] == 3 * 4
    assert (scores["objects"], scores["steps"], scores["solver"]) == (3, 2, "sde-dpmpp-2m")
    for row in (*scores["known"], scores["reconstruction"]):
        assert f"{row['psnr']['mean']:.2f} ± {row['psnr']['standard_error']:.2f}" in result.out
        assert f"{row['ssim']['mean']:.4f} ± {row['ssim']['standard_error']:.4f}" in result.out


def test_chosen_numbers_of_known_views_and_objects(evaluate, objects: Path, tmp_path: Path):
    result = evaluate(objects, "--known", "3,1", "--limit", 2, "--json", tmp_path / "scores.json")
    assert result.code == 0, result.err
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert [s["known"] for s in scores["known"]] == [3, 1]
    assert scores["objects"] == 2


def test_the_test_split_is_the_default(evaluate, tmp_path: Path, write_objects):
    views = ("front", "right", "back", "left")
    root = write_objects(tmp_path / "data", {"train/chair/a": views, "train/chair/b": views, "test/chair/c": views})
    assert evaluate(root, "--known", "3").out.startswith("1 objects of data (test)")
    assert evaluate(root, "--known", "3", "--split", "train").out.startswith("2 objects of data (train)")


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--known", "4"), "--known 4: must be between 1 and 3"),
        (("--known", "0"), "--known 0"),
        (("--known", "one"), "--known one"),
        (("--split", "test"), "no split 'test'"),
        (("--steps", "0"), "steps must be at least 1"),
    ],
)
def test_bad_options(evaluate, objects: Path, options, named):
    result = evaluate(objects, *options)
    assert result.code == 2
    assert len(result.errors) == 1 and named in result.errors[0]


def test_incomplete_objects_are_left_out(evaluate, tmp_path: Path, write_objects):
    views = ("front", "right", "back", "left")
    root = write_objects(tmp_path / "data", {"chair/a": views, "chair/b": views[:3]})
    assert evaluate(root, "--known", "3").out.startswith("1 objects")
    root = write_objects(tmp_path / "other", {"chair/a": views[:3], "chair/b": views[1:3]})
    result = evaluate(root)
    assert result.code == 2
    assert "no object has all views of the checkpoint" in result.errors[0]


def test_unreadable_files(evaluate, objects: Path, tmp_path: Path):
    (objects / "chair" / "b" / "left.png").write_bytes(b"")
    result = evaluate(objects, "--known", "3", "--json", tmp_path / "scores.json")
    assert result.code == 1
    assert "left.png" in result.errors[0]
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert scores["objects"] == 2
    assert len(scores["skipped"]) == 1
    assert evaluate(objects, "--known", "3", "--skip-bad").code == 0


def test_an_unwritable_result(evaluate, objects: Path, tmp_path: Path):
    result = evaluate(objects, "--known", "3", "--limit", 1, "--json", tmp_path / "nowhere" / "scores.json")
    assert result.code == 2
    assert "--json" in result.errors[0]
