"""``dimvida train --resume`` with nothing but the folder, with other options, for longer; and ``--dry-run``."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from helpers.commands import Result, command
from helpers.networks import curve, options, weights
from helpers.objects import write_boxes

from dimvida.models.classifier_checkpoint import load_classifier

from .conftest import description, train

STOP = ("--minutes", "0.000001")


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def stopped(boxes: Path, tmp_path: Path) -> Path:
    """A run that stopped after its first step."""
    out = tmp_path / "run"
    assert train(boxes, out, *STOP).code == 0
    return out


def test_the_folder_suffices(finished: tuple[Path, Result], stopped: Path, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the data were named from somewhere else
    result = command("train", "--resume", "--out", "run")
    assert (result.code, result.errors) == (0, [])
    assert weights(stopped) == weights(finished[0])
    assert description(stopped)["configuration"] == description(finished[0])["configuration"]


def test_a_relative_path_to_the_data_is_found_from_elsewhere(boxes: Path, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(boxes.parent)
    assert train(Path(boxes.name), tmp_path / "run", *STOP).code == 0
    monkeypatch.chdir(tmp_path)
    assert command("train", "--resume", "--out", "run", *STOP).code == 0


def test_everything_that_the_run_was_begun_with_is_known(finished: tuple[Path, Result], boxes: Path, tmp_path: Path):
    parts, out = tmp_path / "parts.json", tmp_path / "run"
    assert command("data", "partition", boxes, "--output", parts, "--split", "train").code == 0
    begun_with = ["--init", finished[0], "--partition", parts, "--split", "train", "--stage", "autoencoder"]
    assert train(boxes, out, *begun_with, *STOP).code == 0
    before = description(out)
    assert before["options"] == {
        "data": str(boxes), "stage": "autoencoder", "split": "train", "partition": str(parts),
        "init": str(finished[0]), "classifier": "resnet18", "weights": None, "skip_bad": False, "tensorboard": False,
        "column": None, "nmr_views": None, "classes": None, "limit": None,
    }  # fmt: skip
    result = command("train", "--resume", "--out", out)
    assert result.code == 0 and result.out.endswith("next: --stage diffusion)\n")
    after = description(out)
    for name in ("options", "configuration", "data", "init", "stages"):
        assert after[name] == before[name]


def test_data_that_have_moved_are_said_to_be(finished: tuple[Path, Result], tmp_path: Path):
    data, out = write_boxes(tmp_path / "here", 40), tmp_path / "run"
    assert train(data, out, *STOP).code == 0
    moved = shutil.move(data, tmp_path / "there")
    result = command("train", "--resume", "--out", out)
    assert result.code == 2
    assert result.errors == [f"error: {out} was trained on {data}, which is not there; give --data where it is now"]
    assert command("train", "--resume", "--out", out, "--data", moved).code == 0
    assert weights(out) == weights(finished[0])
    assert description(out)["options"]["data"] == str(moved)


def test_other_options_are_named_with_both_values_and_change_nothing(stopped: Path):
    before = contents(stopped)
    changes = options(["diffusion_stage.lr=0.5", "seed=1", "score.width=64"])
    result = command("train", "--resume", "--out", stopped, *changes)
    line = result.refusal()
    assert "(seed: 0 -> 1, score.width: 32 -> 64, diffusion_stage.lr: 0.002 -> 0.5)" in line
    assert contents(stopped) == before
    result = command("train", "--resume", "--out", stopped, "--preset", "paper")
    assert "autoencoder.latent_dim: 8 -> 64" in result.refusal()
    assert contents(stopped) == before


def test_a_file_of_options_goes_over_those_of_the_run(stopped: Path, tmp_path: Path):
    """Whichever preset the run has."""
    file = tmp_path / "options.toml"
    file.write_text("[diffusion_stage]\nsteps = 65\n")
    result = command("train", "--resume", "--out", stopped, "--config", file, *STOP)
    assert (result.code, result.errors) == (0, [])
    values = description(stopped)["configuration"]
    assert values["diffusion_stage"]["steps"] == 65 and values["score"]["width"] == 32
    file.write_text("[diffusion_stage]\nlr = 0.5\n")
    result = command("train", "--resume", "--out", stopped, "--config", file)
    assert "(diffusion_stage.lr: 0.002 -> 0.5)" in result.refusal()


def test_other_data_are_refused(stopped: Path, tmp_path: Path):
    before = contents(stopped)
    result = command("train", "--resume", "--out", stopped, "--split", "test")
    assert "on other data" in result.refusal() and "--split" in result.refusal()
    other = write_boxes(tmp_path / "other", 39)
    assert command("train", "--resume", "--out", stopped, "--data", other).code == 2
    assert contents(stopped) == before


@pytest.mark.parametrize("content", [{}, {"options": {}}, {"configuration": {}}, {"options": {"data": None}}])
def test_a_run_that_does_not_say_what_it_was_made_of(stopped: Path, content: dict):
    (stopped / "run.json").write_text(json.dumps(content))
    result = command("train", "--resume", "--out", stopped)
    assert (
        result.code == 2
        and "--data is missing: " in result.errors[0]
        and "holds no training that --resume could" in result.errors[0]
    )


def test_a_training_is_made_longer(finished: tuple[Path, Result], tmp_path: Path):
    out = tmp_path / "run"
    shutil.copytree(finished[0], out)
    result = command("train", "--resume", "--out", out, "--set", "diffusion_stage.steps=80")
    assert (result.code, result.errors) == (0, [])
    said = "note: diffusion_stage.steps: 60 -> 80; the learning rate warms up to the cosine of the new length\n"
    assert said in result.out
    before, after = (curve(folder / "diffusion.csv") for folder in (finished[0], out))
    assert after[: len(before)] == before and after[-1]["step"] == "80"
    assert weights(out)[0] == weights(finished[0])[0] and weights(out)[1] != weights(finished[0])[1]
    result = command("train", "--resume", "--out", out, "--set", "diffusion_stage.steps=79")
    assert "its diffusion has done 80 steps already; 79 are too few" in result.refusal()
    result = command("train", "--resume", "--out", out, "--set", "autoencoder_stage.steps=40")
    assert "(autoencoder_stage.steps: 30 -> 40)" in result.refusal()


QUICK = options(["autoencoder.image_size=16", "classifier_stage.steps=4", "classifier_stage.batch=4", "seed=3"])


def test_the_folder_suffices_for_a_classifier(tmp_path: Path):
    data, out = write_boxes(tmp_path / "data", 4), tmp_path / "run"
    (data / "train" / "box" / "box_0003").rename(data / "train" / "box" / "last")
    (data / "train" / "other").mkdir()
    for name in ("last", "box_0002"):
        (data / "train" / "box" / name).rename(data / "train" / "other" / name)
    kind = ["--stage", "classifier", "--classifier", "mobilenet-v3-small", "--preset", "tiny", *QUICK]
    assert command("train", "--data", data, "--out", tmp_path / "whole", *kind).code == 0
    assert command("train", "--data", data, "--out", out, *kind, *STOP).out == "stopped; continue with --resume\n"
    result = command("train", "--resume", "--out", out, "--classifier", "resnet18")
    assert "(--classifier: mobilenet-v3-small -> resnet18)" in result.refusal()
    result = command("train", "--resume", "--out", out)
    assert (result.code, result.errors) == (0, [])
    file = Path("classifier") / "classifier.safetensors"
    assert (out / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()
    assert load_classifier(out).classes == ("box", "other")


def test_a_dry_run_says_what_would_be_trained_and_writes_nothing(boxes: Path, tmp_path: Path):
    out = tmp_path / "run"
    result = train(boxes, out, "--dry-run")
    assert (result.code, result.errors) == (0, [])
    lines = result.out.splitlines()
    assert lines[:3] == [
        "data: 38 objects to train on and 2 to validate with, of the split train",
        "views: front, right, back, left",
        "images: 16 x 16, RGB",
    ]
    assert lines[3].endswith(" parameters; 30 steps of 16 views, 3.16 times over the data")
    assert lines[4].endswith(" parameters; 60 steps of 16 objects, 25.3 times over the data")
    assert lines[5].startswith("memory: about ") and lines[6].startswith("nothing was written; ")
    assert not out.exists()


def test_a_dry_run_leaves_a_run_as_it_is(stopped: Path, boxes: Path):
    before = contents(stopped)
    assert command("train", "--dry-run", "--resume", "--out", stopped).code == 0
    assert train(boxes, stopped, "--dry-run").code == 2  # as it would be without
    assert contents(stopped) == before
