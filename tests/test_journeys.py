"""The files that a job passes are those that docs/architecture.md names."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import FrameType

import pytest
from helpers.commands import command
from helpers.objects import write_boxes, write_shades

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "dimvida"


def files_on_the_way(frame: FrameType) -> list[str]:
    """The files of the package that calls have come through to here, without what ran before."""
    files: list[str] = []
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        if path.is_relative_to(PACKAGE) and (name := str(path.relative_to(PACKAGE).with_suffix(""))) not in files[:1]:
            files.insert(0, name)
        frame = frame.f_back
    return files


def documented(job: str) -> list[str]:
    """The modules that docs/architecture.md names for a job, in order."""
    text = (ROOT / "docs/architecture.md").read_text().partition(f"- {job}")[2]
    return re.findall(r"`(\w+/\w+)`", re.split(r"\n- |\n\n|With `--backend", text)[0])


def note_ways(monkeypatch: pytest.MonkeyPatch, owner: object, name: str) -> list[list[str]]:
    """Lists the files that each call of a function has come through."""
    ways, function = [], getattr(owner, name)

    def noted(*arguments: object, **named: object) -> object:
        ways.append(files_on_the_way(sys._getframe(1)))
        return function(*arguments, **named)

    monkeypatch.setattr(owner, name, noted)
    return ways


@pytest.mark.parametrize("backend", ["eager", "fused"])
def test_an_object(tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: str):
    from dimvida.ops import registration

    ways, check = [], registration.Op.check

    def checked(op: registration.Op, *arguments: object) -> dict[str, object]:
        if op.name == "masked_step_":
            ways.append(files_on_the_way(sys._getframe(1)))
        return check(op, *arguments)

    monkeypatch.setattr(registration.Op, "check", checked)
    boxes, out = write_boxes(tmp_path / "boxes", 1), tmp_path / "out"
    options = ["--view", "front", "--checkpoint", tiny_checkpoint, "--backend", backend, "--device", "cpu"]
    assert command("generate", "--data", boxes, "--out", out, *options).code == 0
    expected = documented("An object of `dimvida generate`")
    assert ways and all([*way[:-1], "ops/steps", way[-1]] == expected for way in ways)  # which is looked at meanwhile


def test_a_score(tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from dimvida.evaluation import metrics
    from dimvida.results import evaluation

    measured = note_ways(monkeypatch, metrics, "peak_signal_noise_ratio")
    summed = note_ways(monkeypatch, metrics, "estimate_with_interval")
    shown = note_ways(monkeypatch, evaluation, "score_cell")
    options = ["--checkpoint", tiny_checkpoint, "--metrics", "psnr", "--steps", "1", "--device", "cpu"]
    assert command("evaluate", "--data", write_boxes(tmp_path / "boxes", 2, "test"), *options).code == 0
    *way, table = documented("A score of `dimvida evaluate`")
    assert measured and summed and all(each == way for each in measured + summed)
    assert shown and all(each == [*way[:2], table] for each in shown)


def test_a_stage_of_a_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from dimvida.models.autoencoder import Autoencoder
    from dimvida.training.autoencoder import AutoencoderObjective

    ways = note_ways(monkeypatch, AutoencoderObjective, "loss")
    options = ["--preset", "tiny", "--stage", "autoencoder", "--device", "cpu"]
    options += ["--set", "autoencoder_stage.steps=1", "--set", "autoencoder_stage.warmup_steps=0"]
    assert command("train", "--data", write_boxes(tmp_path / "boxes", 3), "--out", tmp_path / "run", *options).code == 0
    *way, objective, network = documented("A stage of a training")
    for kind, place in ((AutoencoderObjective, objective), (Autoencoder, network)):
        assert kind.__module__ == f"dimvida.{place.replace('/', '.')}"
    assert ways and all(each == way for each in ways)


def test_a_classifier(tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from dimvida.models.classifiers import ImageClassifier

    ways = note_ways(monkeypatch, ImageClassifier, "forward")
    options = ["--preset", "tiny", "--classifiers", "mobilenet-v3-small", "--seeds", "1", "--steps", "1"]
    for setting in ("steps=1", "batch=2", "warmup_steps=0"):
        options += ["--set", f"classifier_stage.{setting}"]
    data, out = write_shades(tmp_path / "shades", 0, 8), tmp_path / "out"
    options += ["--checkpoint", str(tiny_checkpoint), "--device", "cpu"]
    assert command("classify", "--data", data, "--out", out, *options).code == 0
    *way, network = documented("A classifier of a study")
    assert ImageClassifier.__module__ == f"dimvida.{network.replace('/', '.')}"
    assert [*way, "training/classifier"] in ways  # which has its loss
