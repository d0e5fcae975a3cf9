"""``dimvida train``: what its options do, what it prints and what it leaves behind."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from boxes import VIEWS, write_boxes
from trainings import Result, command, curve, description, options, train, weights

from dimvida.models.checkpoint import load_checkpoint


def test_trains_and_says_where_the_checkpoint_is(finished: tuple[Path, Result]):
    out, result = finished
    assert (result.code, result.out, result.errors) == (0, f"checkpoint: {out / 'checkpoint'}\n", [])
    for line in (
        "reading: 40/40 objects",
        "autoencoder: 30/30 steps",
        "encoding: 40/40 objects",
        "diffusion: 60/60 steps",
    ):
        assert line in result.err
    assert load_checkpoint(out).config.view_names == VIEWS
    assert curve(out / "diffusion.csv")[-1]["step"] == "60"


def test_trains_on_the_training_split_unless_told_otherwise(finished: tuple[Path, Result], boxes: Path, tmp_path: Path):
    data = description(finished[0])["data"]
    assert (data["split"], data["objects"] + data["validation_objects"]) == ("train", 40)
    assert train(boxes, tmp_path / "run", "--split", "test", "--minutes", "0.000001").code == 0
    data = description(tmp_path / "run")["data"]
    assert (data["split"], data["objects"] + data["validation_objects"]) == ("test", 10)


def test_resuming_a_finished_run_changes_nothing(finished: tuple[Path, Result], boxes: Path):
    out, _ = finished
    before = weights(out), curve(out / "diffusion.csv")
    result = train(boxes, out, "--resume")
    assert (result.code, result.out) == (0, f"checkpoint: {out / 'checkpoint'}\n")
    assert (weights(out), curve(out / "diffusion.csv")) == before


def test_out_of_time_leaves_a_checkpoint_and_goes_on_exactly(
    finished: tuple[Path, Result], boxes: Path, tmp_path: Path
):
    result = train(boxes, tmp_path, "--minutes", "0.000001")
    assert (result.code, result.errors) == (0, [])
    assert "--resume" in result.out and str(tmp_path / "checkpoint") in result.out
    load_checkpoint(tmp_path)
    assert train(boxes, tmp_path, "--resume").out == f"checkpoint: {tmp_path / 'checkpoint'}\n"
    assert weights(tmp_path) == weights(finished[0])
    assert curve(tmp_path / "autoencoder.csv") == curve(finished[0] / "autoencoder.csv")


def test_stages_can_be_run_one_by_one(finished: tuple[Path, Result], boxes: Path, tmp_path: Path):
    assert train(boxes, tmp_path, "--stage", "autoencoder").code == 0
    assert not (tmp_path / "diffusion.state").exists()
    assert train(boxes, tmp_path, "--stage", "diffusion").code == 0
    assert weights(tmp_path) == weights(finished[0])


def test_single_values_of_the_preset_are_replaced(finished: tuple[Path, Result], boxes: Path, tmp_path: Path):
    changes = ["diffusion_stage.steps=7", "seed=3", "storage.dtype=bfloat16"]
    assert train(boxes, tmp_path, *options(changes)).code == 0
    configuration = description(tmp_path)["configuration"]
    assert configuration["diffusion_stage"]["steps"] == 7
    assert (configuration["seed"], configuration["storage"]["dtype"]) == (3, "bfloat16")
    assert configuration["score"]["width"] == 32
    assert curve(tmp_path / "diffusion.csv")[-1]["step"] == "7"
    sizes = [(run / "checkpoint" / "score.safetensors").stat().st_size for run in (tmp_path, finished[0])]
    assert sizes[0] < 0.6 * sizes[1]
    assert curve(tmp_path / "autoencoder.csv") != curve(finished[0] / "autoencoder.csv")


def test_starts_from_the_weights_of_another_checkpoint(finished: tuple[Path, Result], boxes: Path, tmp_path: Path):
    out, _ = finished
    assert train(boxes, tmp_path, "--init", out, *options(["diffusion_stage.steps=20"])).code == 0
    for stage in ("autoencoder", "diffusion"):
        first, before = curve(tmp_path / f"{stage}.csv")[0], curve(out / f"{stage}.csv")[0]
        assert float(first["loss"]) < float(before["loss"])
    provenance = load_checkpoint(tmp_path).config.provenance
    assert provenance["init"]["checkpoint_sha256"] == load_checkpoint(out).digest


@pytest.mark.parametrize("split", [["--split", "train"], []], ids=["split", "all"])
def test_trains_on_part_d_of_a_partition(boxes: Path, tmp_path: Path, split: list[str]):
    file, out = tmp_path / "parts.json", tmp_path / "run"
    assert command("data", "partition", boxes, "--output", file, *split).code == 0
    parts = json.loads(file.read_text())
    result = train(boxes, out, "--partition", file, "--minutes", "0.000001", *split)
    assert (result.code, result.errors) == (0, [])
    data = description(out)["data"]
    assert data["partition"] == "parts.json"
    assert data["objects"] + data["validation_objects"] == len(parts["d"]) < len(parts["d"]) + len(parts["e"])


def test_an_unreadable_image_is_named_and_its_object_left_out(tmp_path: Path):
    data = write_boxes(tmp_path / "data", 6)
    broken = data / "train" / "box" / "box_0002" / "left.png"
    broken.write_bytes(broken.read_bytes()[:60])
    result = train(data, tmp_path / "run", "--minutes", "0.000001")
    assert f"skipped {broken}: " in result.err
    described = description(tmp_path / "run")["data"]
    assert described["objects"] + described["validation_objects"] == 5
