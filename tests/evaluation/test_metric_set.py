"""What is measured, and why the rest is not."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dimvida.errors import InputError
from dimvida.evaluation.metric_set import METRICS, build_metrics
from dimvida.models.classifier_checkpoint import save_classifier
from dimvida.models.classifiers import build_classifier

CPU = torch.device("cpu")
CLASSES = ("chair", "table")


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Downloads fail at once, whatever machine this is, and nothing was downloaded before."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    for name in ("https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "classifier"
    save_classifier(folder, build_classifier("mobilenet-v3-small", CLASSES), {})
    return folder


def test_reasons_say_what_to_do():
    metrics = build_metrics(64, CLASSES, CPU)
    assert metrics.available == metrics.per_picture == ("psnr", "ssim")
    assert set(metrics.reasons) == set(METRICS) - {"psnr", "ssim"}
    assert "squeezenet1_1-b8a52dc0.pth" in metrics.reasons["lpips"] and "--lpips-weights" in metrics.reasons["lpips"]
    assert "--judge" in metrics.reasons["coherence"] and "--judge" in metrics.reasons["feature_frechet"]
    table = metrics.to_dict()
    assert table["psnr"] == {"available": True}
    assert table["fid"] == {"available": False, "reason": metrics.reasons["fid"]}


def test_pictures_that_are_too_small():
    metrics = build_metrics(10, (), CPU, names=("psnr", "ssim", "lpips"))
    assert metrics.available == ("psnr",)
    assert "11 pixels" in metrics.reasons["ssim"] and "17 pixels" in metrics.reasons["lpips"]


def test_a_classifier_gives_two_metrics(classifier: Path):
    metrics = build_metrics(32, CLASSES, CPU, names=("coherence", "feature_frechet"), classifier=classifier)
    assert metrics.available == ("coherence", "feature_frechet") and metrics.per_picture == ("coherence",)
    seen, features = metrics.judge(torch.zeros(2, 3, 32, 32, dtype=torch.uint8))
    assert seen.shape == (2,) and features.shape == (2, 1024)


def test_objects_without_classes_have_no_coherence(classifier: Path):
    metrics = build_metrics(32, (), CPU, names=("coherence", "feature_frechet"), classifier=classifier)
    assert metrics.available == ("feature_frechet",)
    assert "no class" in metrics.reasons["coherence"]


def test_only_what_is_asked_for():
    metrics = build_metrics(64, (), CPU, names=("ssim",))
    assert metrics.available == ("ssim",) and not metrics.reasons
    assert metrics.to_dict() == {"ssim": {"available": True}}


def test_bad_input(classifier: Path, tmp_path: Path):
    with pytest.raises(InputError, match="--metrics sharpness: choose from psnr, ssim, lpips, fid"):
        build_metrics(64, (), CPU, names=("sharpness",))
    with pytest.raises(InputError, match="no classifier there"):
        build_metrics(64, CLASSES, CPU, names=("coherence",), classifier=tmp_path)
    with pytest.raises(InputError, match="does not know the class 'lamp'"):
        build_metrics(64, (*CLASSES, "lamp"), CPU, names=("coherence",), classifier=classifier)
    with pytest.raises(InputError, match=r"--lpips-weights .*nowhere\.pth: cannot be read"):
        build_metrics(64, (), CPU, names=("lpips",), lpips_weights=tmp_path / "nowhere.pth")
