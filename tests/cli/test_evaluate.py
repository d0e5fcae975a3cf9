"""``dimvida evaluate``."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import pytest
from helpers.objects import VIEWS

from dimvida.data.partitions import Partitions, save_partitions
from dimvida.models.checkpoint import (
    load_checkpoint,
    save_checkpoint,
)
from dimvida.models.familiarity import InputStatistics
from dimvida.results.metrics import METRICS

pytestmark = pytest.mark.usefixtures("no_network", "narrow_terminal")


def test_a_table_and_json(evaluate, objects: Path, tmp_path: Path):
    result = evaluate(objects, "--json", tmp_path / "scores.json")
    assert result.code == 0, result.err
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert [(s["known"], s["subsets"], s["scores"]["ssim"]["count"]) for s in scores["known"]] == [
        (1, 4, 3 * 4 * 3),
        (2, 6, 3 * 6 * 2),
        (3, 4, 3 * 4 * 1),
    ]
    assert scores["reconstruction"]["scores"]["ssim"]["count"] == 3 * 4
    assert (scores["objects"], scores["steps"], scores["solver"]) == (3, 2, "sde-dpmpp-2m")
    assert scores["command"][:3] == ["dimvida", "evaluate", "--data"]
    assert scores["view_names"] == list(VIEWS) and scores["classes"] == ["chair", "table"]
    for row in (*scores["known"], scores["reconstruction"]):
        for name, digits in (("psnr", 2), ("ssim", 3)):
            score = row["scores"][name]
            half = score["high"] - score["mean"]
            assert f"{score['mean']:.{digits}f} ± {half:.{digits}f}" in result.out
    assert [(row["known"], row["view"]) for row in scores["per_view"]] == [(k, v) for k in (1, 2, 3) for v in VIEWS]
    assert [(row["class"], row["objects"]) for row in scores["per_class"]] == [("chair", 2), ("table", 1)] * 3


def test_what_cannot_be_measured_is_said(evaluate, objects: Path, tmp_path: Path):
    result = evaluate(objects, "--known", "3", "--json", tmp_path / "scores.json")
    assert result.code == 0
    metrics = json.loads((tmp_path / "scores.json").read_text())["metrics"]
    needed = {"lpips", "fid", "coherence", "feature_frechet"}  # a network each, which is not to be had
    assert [name for name in metrics if metrics[name]["available"]] == [n for n in METRICS if n not in needed]
    told = " ".join(result.out.split())
    for name, shown in (("lpips", "LPIPS"), ("fid", "FID"), ("coherence", "coherence")):
        assert f"not available: {shown}: {metrics[name]['reason']}" in told
    assert "Traceback" not in result.err
    nothing = evaluate(objects, "--metrics", "coherence")
    assert nothing.code == 1 and "no metric can be measured; coherence: needs a classifier" in nothing.errors[0]


def test_a_run_folder(evaluate, objects: Path, tmp_path: Path):
    out = tmp_path / "run"
    assert evaluate(objects, "--known", "1", "--metrics", "psnr", "--out", out).code == 0
    document = json.loads((out / "evaluation.json").read_text())
    assert (document["schema"], document["kind"], document["sheet_metric"]) == (1, "evaluation", "psnr")
    assert list(document["metrics"]) == ["psnr"]
    assert set(document["versions"]) == {"dimvida", "torch", "torchvision", "python", "platform"}
    assert document["sheets"] == {name: f"sheets/{name}.png" for name in ("best", "median", "worst")}
    for sheet in document["sheets"].values():
        assert (out / sheet).read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"

    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    again = evaluate(objects, "--known", "3", "--metrics", "ssim", "--out", out)
    assert "holds an evaluation already" in again.refusal() and "--overwrite" in again.refusal()
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    assert evaluate(objects, "--known", "3", "--metrics", "ssim", "--out", out, "--overwrite").code == 0
    replaced = json.loads((out / "evaluation.json").read_text())
    assert (replaced["known"][0]["known"], replaced["sheets"], replaced["sheet_metric"]) == (3, {}, None)
    assert [path.name for path in (out / "sheets").iterdir()] == []
    (tmp_path / "file").touch()
    assert "is not a folder" in evaluate(objects, "--out", tmp_path / "file").errors[0]


def test_a_sample_of_sets(evaluate, objects: Path, tmp_path: Path):
    options = ("--known", "2", "--subsets", 3, "--metrics", "psnr", "--json")
    results = [evaluate(objects, *options, tmp_path / name, *rest) for name, rest in (("a", ()), ("b", ()))]
    assert "2 known: 3 of 6 sets, drawn at random" in results[0].out
    first, second = (json.loads((tmp_path / name).read_text()) for name in "ab")
    assert (first["known"][0]["subsets"], first["known"][0]["subsets_total"]) == (3, 6)
    assert first["known"] == second["known"]


def test_breakdowns(evaluate, objects: Path):
    plain = evaluate(objects, "--known", "3", "--metrics", "psnr").out
    assert "by view" not in plain and "by class" not in plain
    both = evaluate(objects, "--known", "3", "--metrics", "psnr", "--by", "view,class").out
    by_view, by_class = both.split("by view")[1].split("by class")
    assert all(re.search(rf"^ *3 +{view} +3 ", by_view, re.MULTILINE) for view in VIEWS)
    assert re.search(r"^ *3 +chair +8 ", by_class, re.MULTILINE)


def test_the_part_of_a_partition(evaluate, objects: Path, tmp_path: Path):
    parts = Partitions(d=("chair/a",), c=("chair/b",), e=("table/c",), fractions=(0.34, 0.33, 0.33), seed=0)
    save_partitions(parts, tmp_path / "parts.json")
    result = evaluate(objects, "--known", "3", "--metrics", "psnr", "--partition", tmp_path / "parts.json")
    assert result.out.startswith("1 objects of objects")


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
        (("--known", "front"), "--known front: give whole numbers separated by commas; every set of so many views"),
        (("--split", "test"), "no split 'test'"),
        (("--steps", "0"), "steps must be at least 1"),
        (("--by", "colour"), "--by colour: choose from view, class"),
        (("--metrics", "psnr,beauty"), "--metrics beauty: choose from psnr"),
        (("--judge", "nowhere"), "nowhere: no classifier there"),
        (("--inception-weights", "nowhere.pth"), "--inception-weights nowhere.pth: cannot be read"),
    ],
)
def test_bad_options(evaluate, objects: Path, options, named):
    assert named in evaluate(objects, *options).refusal()


def test_incomplete_objects_are_left_out(evaluate, tmp_path: Path, write_objects):
    views = ("front", "right", "back", "left")
    root = write_objects(tmp_path / "data", {"chair/a": views, "chair/b": views[:3]})
    result = evaluate(root, "--known", "3", "--json", tmp_path / "scores.json")
    assert result.code == 0 and "\n1 objects of data" in result.out
    assert "1 object left out: not every view is there (front 2, right 2, back 2, left 1)" in result.out
    assert json.loads((tmp_path / "scores.json").read_text())["left_out"] == 1
    root = write_objects(tmp_path / "other", {"chair/a": views[:3], "chair/b": views[1:3]})
    result = evaluate(root)
    assert "no object has all views of the checkpoint" in result.refusal()
    assert "of 2 objects there are front 1, right 2, back 2" in result.errors[0]


def test_what_the_model_was_not_trained_on_is_said(dimvida, objects: Path, tiny_checkpoint: Path, tmp_path: Path):
    checkpoint = load_checkpoint(tiny_checkpoint)
    white = InputStatistics((255.0,) * 3, 0.0, 1.0)
    checkpoint.config = dataclasses.replace(checkpoint.config, classes=("chair",), inputs=white)
    save_checkpoint(tmp_path / "model", checkpoint)
    options = ("--steps", 1, "--known", 3, "--metrics", "psnr", "--json", tmp_path / "scores.json")
    result = dimvida("evaluate", "--data", objects, "--checkpoint", tmp_path / "model", *options)
    assert result.code == 0, result.err
    lines = json.loads((tmp_path / "scores.json").read_text())["unfamiliar"]
    assert lines == [
        "the model was not trained on the class table",
        "the border of 12 of 12 views is not the background of the training images",
        "12 of 12 views that were looked at cannot be shown as well as training images",
    ]
    said = " ".join(result.out.split())
    assert all(f"note: {line}" in said for line in lines)


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
    assert "--json" in result.refusal()


def test_a_checkpoint_with_cameras_is_judged_by_its_named_views(
    dimvida, camera_checkpoint: Path, objects: Path, tmp_path: Path
):
    asked = ["--data", objects, "--checkpoint", camera_checkpoint, "--metrics", "psnr", "--known", 1]
    assert dimvida("evaluate", *asked, "--json", tmp_path / "scores.json").code == 0
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert scores["view_names"] == list(VIEWS)
    assert [(s["known"], s["subsets"], s["scores"]["psnr"]["count"]) for s in scores["known"]] == [(1, 4, 3 * 4 * 3)]


def test_a_checkpoint_with_cameras_is_judged_by_those_of_its_views_that_the_data_have(
    dimvida, camera_checkpoint: Path, tiny_checkpoint: Path, tmp_path: Path, write_objects
):
    views = ("front", "left")
    root = write_objects(tmp_path / "data", {f"chair/{name}": views for name in "ab"})
    asked = ["evaluate", "--data", root, "--metrics", "psnr", "--json", tmp_path / "scores.json"]
    assert dimvida(*asked, "--checkpoint", camera_checkpoint).code == 0
    by_name = json.loads((tmp_path / "scores.json").read_text())
    assert by_name["view_names"] == list(views)
    assert [(s["known"], s["subsets"]) for s in by_name["known"]] == [(1, 2)]
    config = load_checkpoint(camera_checkpoint).config
    own = dict(zip(config.view_names, config.cameras, strict=True))
    cameras = {view: dict(zip(("azimuth", "elevation"), own[view], strict=True)) for view in views}
    (root / "cameras.json").write_text(json.dumps(cameras))
    assert dimvida(*asked, "--checkpoint", camera_checkpoint).code == 0
    assert json.loads((tmp_path / "scores.json").read_text())["known"] == by_name["known"]
    assert "no object has all views" in dimvida(*asked, "--checkpoint", tiny_checkpoint).refusal()


def test_a_model_that_takes_cameras_is_judged_at_all_angles_of_the_data(
    dimvida, camera_checkpoint: Path, tmp_path: Path, write_objects
):
    views = ("front", "oblique", "side")
    root = write_objects(tmp_path / "data", {f"test/chair/{name}": views for name in "abc"})
    asked = ["evaluate", "--data", root, "--checkpoint", camera_checkpoint, "--metrics", "psnr", "--known", 1]
    refusal = dimvida(*asked).refusal()  # by their names
    assert "no object has all views of the checkpoint" in refusal and "with a cameras.json" in refusal
    cameras = {view: {"azimuth": -45 * number, "elevation": 30} for number, view in enumerate(views)}
    (root / "cameras.json").write_text(json.dumps(cameras))
    result = dimvida(*asked, "--out", tmp_path / "out")
    assert result.code == 0, result.err
    lines = [" ".join(line.split()) for line in result.out.splitlines()]
    assert "views: front, oblique, side" in lines and "by angle" in lines
    assert [line.split()[:3] for line in lines if "trained" in line] == [
        ["1", "trained", "12"],
        ["1", "untrained", "6"],
    ]
    document = json.loads((tmp_path / "out/evaluation.json").read_text())
    assert document["view_names"] == list(views)
    counts = {entry["view"]: entry["scores"]["psnr"]["count"] for entry in document["per_angle"]}
    assert counts == {"trained": 12, "untrained": 6}
    assert (tmp_path / "out/sheets/best.png").exists()
