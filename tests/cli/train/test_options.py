"""``dimvida train``: what its options do, what it prints and what it leaves behind."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import pytest
from helpers.commands import Result, command
from helpers.networks import TRANSFORMER, curve, options, weights
from helpers.objects import VIEWS, write_boxes

from dimvida.models.checkpoint import load_checkpoint

from .conftest import description, train


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
    made = description(out)
    assert made["command"][:2] == ["dimvida", "train"] and str(out) in made["command"]
    assert {"dimvida", "torch", "python"} <= set(made["versions"])


def test_trains_on_the_training_split_unless_told_otherwise(finished: tuple[Path, Result], boxes: Path, tmp_path: Path):
    data = description(finished[0])["data"]
    assert (data["split"], data["objects"] + data["validation_objects"]) == ("train", 40)
    assert train(boxes, tmp_path / "run", "--split", "test", "--minutes", "0.000001").code == 0
    data = description(tmp_path / "run")["data"]
    assert (data["split"], data["objects"] + data["validation_objects"]) == ("test", 10)


def test_views_without_cameras_are_where_the_first_weights_have_them(
    boxes: Path, camera_checkpoint: Path, tmp_path: Path
):
    sizes = ["mlp_ratio=2", "width=16", "depth=2", "heads=2", "patch=1", "time_dim=8"]
    values = [*TRANSFORMER, *(f"score.{size}" for size in sizes), "diffusion_stage.steps=2"]
    asked = ("--stage", "diffusion", "--init", camera_checkpoint, "--limit", 8)
    result = command("train", "--data", boxes, "--preset", "tiny", "--out", tmp_path / "run", *asked, *options(values))
    assert result.code == 0 and "taken for those of --init with the same names" in result.out
    assert load_checkpoint(tmp_path / "run").config.cameras == load_checkpoint(camera_checkpoint).config.cameras
    again = command("train", "--resume", "--out", tmp_path / "run", "--set", "diffusion_stage.steps=3")
    assert again.code == 0, again.err


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


def test_values_come_from_a_file_of_ones_own(boxes: Path, tmp_path: Path):
    file, out = tmp_path / "mine.toml", tmp_path / "run"
    file.write_text("seed = 3\n[score]\nwidth = 64\n[diffusion_stage]\nsteps = 4\n[autoencoder_stage]\nsteps = 2\n")
    chosen = ["--set", "score.heads=4", "--set", "autoencoder.image_size=16", "--set", "diffusion_stage.steps=3"]
    result = command("train", "--data", boxes, "--out", out, "--preset", "tiny", "--config", file, *chosen)
    assert (result.code, result.errors) == (0, [])
    configuration = description(out)["configuration"]
    assert (configuration["seed"], configuration["score"]["width"]) == (3, 64)
    assert (configuration["diffusion_stage"]["steps"], configuration["autoencoder_stage"]["steps"]) == (3, 2)
    assert load_checkpoint(out).config.provenance["configuration"] == configuration


@pytest.mark.skipif(find_spec("tensorboard") is not None, reason="tensorboard is installed")
def test_without_tensorboard_it_is_said_at_once(tmp_path: Path):
    line = train(tmp_path / "missing", tmp_path / "run", "--tensorboard").refusal()
    assert "tensorboard is not installed" in line and "dimvida[tracking]" in line


@pytest.mark.skipif(find_spec("tensorboard") is None, reason="needs tensorboard")
def test_tensorboard_gets_curves_and_sheets_also_after_a_resume(
    finished: tuple[Path, Result], boxes: Path, tmp_path: Path
):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    assert train(boxes, tmp_path, "--tensorboard", "--minutes", "0.02").code == 0
    assert train(boxes, tmp_path, "--tensorboard", "--resume").code == 0
    assert weights(tmp_path) == weights(finished[0])
    for stage in ("autoencoder", "diffusion"):
        events = EventAccumulator(str(tmp_path / "tensorboard" / stage)).Reload()
        for name, column in (("loss", "loss"), ("lr", "lr"), ("validation/loss", "validation_loss")):
            shown = {event.step: event.value for event in events.Scalars(f"{stage}/{name}")}
            expected = {int(row["step"]): float(row[column]) for row in curve(tmp_path / f"{stage}.csv")}
            assert shown == pytest.approx(expected, rel=1e-5)
        assert [event.step for event in events.Images(f"{stage}/samples")] == [max(expected)]


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
    assert command("data", "partition", boxes, "--out", file, *split).code == 0
    parts = json.loads(file.read_text())
    result = train(boxes, out, "--partition", file, "--minutes", "0.000001", *split)
    assert (result.code, result.errors) == (0, [])
    data = description(out)["data"]
    assert data["partition"] == "parts.json"
    assert data["objects"] + data["validation_objects"] == len(parts["d"]) < len(parts["d"]) + len(parts["e"])


SHORTEST = options(["autoencoder_stage.steps=2", "diffusion_stage.steps=2"])


def test_an_unreadable_image_costs_its_view_and_makes_the_exit_code_1(tmp_path: Path):
    data = write_boxes(tmp_path / "data", 30)
    views = sorted((data / "train" / "box").glob("*/left.png"))
    for path in views[:21]:
        path.write_bytes(path.read_bytes()[:60])
    views[-1].unlink()
    for path in views[0].parent.iterdir():
        path.write_bytes(b"")
    out = tmp_path / "run"
    stopped = train(data, out, *SHORTEST, "--minutes", "0.000001")
    assert (stopped.code, stopped.errors) == (0, [])  # it is not at its end
    result = train(data, out, *SHORTEST, "--resume")
    assert result.code == 1
    (line,) = result.errors
    broken = [*(views[0].with_name(f"{view}.png") for view in VIEWS), *views[1:21]]
    assert "24 input files cannot be read" in line and str(broken[0]) in line and "--skip-bad" in line
    shown = [line for line in result.err.splitlines() if line.startswith("skipped")]
    assert len(shown) == 21 and shown[0].startswith(f"skipped {broken[0]}: ")
    assert shown[-1] == "skipped 4 more; run.json lists all"
    notes = [line for line in result.out.splitlines() if line.startswith("note: ")]
    assert notes == [
        "note: 1 object left out: no view can be read",
        "note: 21 objects of 29 not complete (21 views absent of 116); they train what they have",
    ]
    assert f"checkpoint: {out / 'checkpoint'}" in result.out
    described = description(out)
    assert [entry["file"] for entry in described["skipped"]] == [str(path) for path in broken]
    names = ("objects", "validation_objects", "partial_objects", "absent_views", "left_out")
    assert [described["data"][name] for name in names] == [28, 1, 21, 21, 1]
    assert train(data, out, *SHORTEST, "--resume", "--skip-bad").code == 0


def test_what_was_found_and_left_out_is_said(tmp_path: Path):
    data = write_boxes(tmp_path / "data", 5)
    folder = data / "train" / "box"
    (folder / "front.png").write_bytes((folder / "box_0000" / "front.png").read_bytes())
    result = train(data, tmp_path / "run", *SHORTEST)
    assert result.code == 1
    (note,) = [line for line in result.out.splitlines() if line.startswith("note: ")]
    assert note.startswith("note: left out: 1 file, at another depth than most images")
    (line,) = result.errors
    assert "1 input file cannot be read" in line and "--skip-bad" in line
    stray = {"file": str(folder / "front.png"), "reason": "at another depth than most images"}
    assert description(tmp_path / "run")["skipped"] == [stray]
    assert train(data, tmp_path / "run", *SHORTEST, "--resume", "--skip-bad").code == 0


def test_an_autoencoder_alone_is_not_called_a_whole_checkpoint(boxes: Path, tmp_path: Path):
    checkpoint, untrained = tmp_path / "checkpoint", "(the score network is not trained yet"
    result = train(boxes, tmp_path, *SHORTEST, "--stage", "autoencoder")
    assert result.out == f"checkpoint: {checkpoint} {untrained}; next: --stage diffusion)\n"
    assert command("train", "--resume", "--out", tmp_path).out == result.out  # what it was begun for is done
    result = train(boxes, tmp_path, *SHORTEST, "--stage", "all", "--resume", "--minutes", "0.000001")
    assert result.out == f"stopped; continue with --resume; checkpoint so far: {checkpoint} {untrained})\n"
    result = train(boxes, tmp_path, *SHORTEST, "--resume")
    assert result.out == f"checkpoint: {checkpoint}\n"


def test_no_checkpoint_is_named_before_there_is_one(finished: tuple[Path, Result], boxes: Path, tmp_path: Path):
    arguments = ["--stage", "diffusion", "--init", finished[0], "--minutes", "0.000001"]
    result = train(boxes, tmp_path, *arguments)
    assert result.out == "stopped; continue with --resume\n"
    assert not (tmp_path / "checkpoint").exists()
