"""FID beside torchmetrics with the same weights, which are random and come from a file."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from inception import write_inception
from torchmetrics.image.fid import FrechetInceptionDistance

from dimvida.errors import InputError
from dimvida.evaluation.feature_distance import Moments, estimate_distance
from dimvida.evaluation.inception import FEATURES, InceptionFeatures
from dimvida.evaluation.metric_set import build_metrics
from dimvida.evaluation.weights import INCEPTION, Unavailable, obtain_weights

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_inception(tmp_path_factory.mktemp("weights") / "inception.pth")


def pictures(count: int, seed: int) -> torch.Tensor:
    """Flat colours with noise, so that features vary."""
    generator = torch.Generator().manual_seed(seed)
    colours = torch.randint(0, 200, (count, 3, 1, 1), generator=generator)
    return (colours + torch.randint(0, 56, (count, 3, 16, 16), generator=generator)).to(torch.uint8)


def features(weights: Path, size: int = FEATURES) -> InceptionFeatures:
    return InceptionFeatures(obtain_weights(INCEPTION, weights), "--inception-weights", size=size)


@pytest.mark.slow
def test_the_distance_is_that_of_torchmetrics(weights: Path):
    theirs = FrechetInceptionDistance(feature=64, feature_extractor_weights_path=str(weights))
    ours = features(weights, 64)
    generated, true = pictures(12, 0), pictures(12, 1)
    theirs.update(true, real=True)
    theirs.update(generated, real=False)
    estimate = estimate_distance([Moments.of(ours(generated))], [Moments.of(ours(true))])
    assert estimate.mean == pytest.approx(theirs.compute().item(), rel=1e-3)
    assert estimate.mean > 0.01


@pytest.mark.slow
def test_the_features_of_fid_are_those_of_torchmetrics(weights: Path):
    theirs = FrechetInceptionDistance(feature=2048, feature_extractor_weights_path=str(weights)).inception
    images = pictures(2, 0)
    found = features(weights)(images)
    assert found.shape == (2, FEATURES)
    torch.testing.assert_close(found, theirs(images))
    assert found.std(0).mean() > 0.01  # pictures differ


@pytest.mark.slow
def test_weights_of_something_else(weights: Path, tmp_path: Path):
    state = torch.load(weights, weights_only=True)
    cut = {**state, "fc.weight": state["fc.weight"][:5]}
    for wrong, problem in (({"layer.weight": torch.zeros(3)}, "Missing key"), (cut, "fc.weight")):
        torch.save(wrong, tmp_path / "wrong.pth")
        with pytest.raises(InputError, match=rf"wrong\.pth: is not the Inception network .*{problem}") as error:
            build_metrics(16, (), CPU, names=("fid",), inception_weights=tmp_path / "wrong.pth")
        assert "\n" not in str(error.value) and len(str(error.value)) < 400


def test_without_the_package(monkeypatch: pytest.MonkeyPatch):
    # As an import of a package that is not there: no finder knows it.
    monkeypatch.setattr(sys, "meta_path", [])
    monkeypatch.delitem(sys.modules, "torch_fidelity", raising=False)
    with pytest.raises(Unavailable, match=r"torch-fidelity is not installed: pip install 'dimvida\[fid\]'"):
        InceptionFeatures({}, "--inception-weights")
    metrics = build_metrics(16, (), CPU, names=("psnr", "fid"))
    assert metrics.available == ("psnr",) and "torch-fidelity" in metrics.reasons["fid"]
