"""``dimvida evaluate`` with networks that judge: their weights, and what is said of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from helpers.objects import VIEWS
from torchvision.models import squeezenet1_1

from dimvida.models import AutoencoderConfig, ScoreConfig
from dimvida.models.checkpoint import (
    Checkpoint,
    CheckpointConfig,
    SamplingDefaults,
    save_checkpoint,
)
from dimvida.models.classifier_checkpoint import save_classifier
from dimvida.models.classifiers import build_classifier

pytestmark = pytest.mark.usefixtures("no_network", "narrow_terminal")


@pytest.fixture(scope="module")
def all_weights(tmp_path_factory: pytest.TempPathFactory, inception: Path) -> dict[str, Path]:
    """Options of everything that the metrics and a model of 32 pixels need, with random weights."""
    root = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    config = CheckpointConfig(
        view_names=VIEWS,
        classes=(),
        autoencoder=AutoencoderConfig(image_size=32, latent_dim=8, base=8),
        score=ScoreConfig(width=32, time_dim=16, groups=8),
        sampling=SamplingDefaults(solver="ddim", steps=2, x0_clip=4.0),
    )
    autoencoder, score = config.build()
    torch.nn.init.normal_(score.output.weight, std=0.05)
    save_checkpoint(root / "model", Checkpoint(config, autoencoder, score, torch.zeros(8), torch.full((8,), 20.0)))
    save_classifier(root / "classifier", build_classifier("mobilenet-v3-small", ("table", "chair")), {})
    torch.save(squeezenet1_1().state_dict(), root / "squeezenet.pth")
    return {
        "--checkpoint": root / "model",
        "--judge": root / "classifier",
        "--lpips-weights": root / "squeezenet.pth",
        "--inception-weights": inception,
    }


@pytest.mark.slow
def test_all_metrics(dimvida, objects: Path, tmp_path: Path, all_weights: dict[str, Path]):
    options = [part for option in all_weights.items() for part in option]
    out = tmp_path / "run"
    result = dimvida("evaluate", "--data", objects, *options, "--known", "3", "--subsets", 2, "--out", out)
    assert result.code == 0, result.err
    lines = [line for line in result.out.splitlines() if "resized" not in line]  # it names a file
    assert len(lines) > 10 and max(map(len, lines)) <= 80
    document = json.loads((out / "evaluation.json").read_text())
    metrics = ["psnr", "ssim", "lpips", "colour", "fid", "coherence", "feature_frechet"]
    assert [name for name in metrics if document["metrics"][name] == {"available": True}] == metrics
    scores = document["known"][0]["scores"]
    assert list(scores) == metrics
    for score in scores.values():
        assert score["count"] == 6 and score["low"] <= score["mean"] <= score["high"]
    assert 0 <= scores["coherence"]["mean"] <= 1 and scores["fid"]["mean"] > 0 and scores["lpips"]["mean"] > 0
    assert document["reference"]["scores"]["coherence"]["count"] == 12
    assert document["sheet_metric"] == "lpips" and (out / "sheets" / "median.png").exists()
    assert "3 known: FID of 6 pictures" in result.out and "true views" in result.out


@pytest.mark.parametrize("option", ["--lpips-weights", "--inception-weights"])
def test_a_wrong_file_is_one_line(dimvida, objects: Path, tmp_path: Path, all_weights: dict[str, Path], option: str):
    torch.save({"layer.weight": torch.zeros(3)}, tmp_path / "wrong.pth")
    options = [part for item in {**all_weights, option: tmp_path / "wrong.pth"}.items() for part in item]
    assert f"{option} {tmp_path / 'wrong.pth'}: is not" in dimvida("evaluate", "--data", objects, *options).refusal()


def test_the_data_are_looked_at_before_weights_are_downloaded(evaluate, tmp_path: Path, write_objects):
    root = write_objects(tmp_path / "data", {"chair/a": ("front", "right")})
    result = evaluate(root, "--metrics", "lpips")
    assert "no object has all views" in result.refusal()
    assert "downloading" not in result.err


def test_the_judge_is_introduced_before_it_works(dimvida, evaluate, objects: Path, tmp_path: Path):
    torch.manual_seed(0)
    classifier = build_classifier("mobilenet-v3-small", ("table", "chair"), image_size=32, channels=3)
    save_classifier(tmp_path / "classifier", classifier, {})
    options = ("--known", "3", "--metrics", "coherence", "--judge", tmp_path / "classifier")
    result = evaluate(objects, *options, "--json", tmp_path / "scores.json")
    assert result.code == 0, result.err
    said = " ".join(result.out.split())
    assert "a mobilenet-v3-small of 2 classes, trained on RGB images of 32 x 32 pixels, to which those of 16" in said
    scores = json.loads((tmp_path / "scores.json").read_text())
    share = scores["reference"]["scores"]["coherence"]["mean"]
    assert f"judge: sees the class of {100 * share:.1f} % of the true views" in result.err
    assert result.err.index("judge: sees") < result.err.index("evaluating")
    assert scores["judge"] == {"name": "mobilenet-v3-small", "classes": ["table", "chair"], "image_size": 32}


def test_a_classifier_of_other_classes_is_refused_before_the_work(evaluate, objects: Path, tmp_path: Path):
    save_classifier(tmp_path / "classifier", build_classifier("mobilenet-v3-small", ("Chair", "table")), {})
    result = evaluate(objects, "--judge", tmp_path / "classifier")
    assert result.code == 2 and result.out == ""
    assert "does not know the class 'chair' of the data; it knows Chair, table; 'Chair' is spelled" in result.errors[0]
