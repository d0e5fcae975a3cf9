"""Metrics on a GPU are those on the CPU."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torchvision.models import squeezenet1_1

from dimvida.evaluation.metrics import build_metrics
from dimvida.evaluation.protocol import Scorer, study_true_views
from dimvida.models.classifier_checkpoint import load_classifier, save_classifier
from dimvida.models.classifiers import build_classifier
from dimvida.results.schema import Scores

CLASSES = ("chair", "table")


def scores(folder: Path, device: torch.device) -> tuple[Scores, Scores]:
    """Of noisy views, and of the true ones."""
    metrics = build_metrics(
        32,
        CLASSES,
        device,
        names=("psnr", "ssim", "lpips", "coherence", "feature_frechet"),
        lpips_weights=folder / "squeezenet.pth",
        classifier=load_classifier(folder / "classifier"),
    )
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (6, 3, 3, 32, 32), generator=generator, dtype=torch.uint8)
    noisy = (0.7 * images + 0.3 * torch.randint(0, 256, images.shape, generator=generator)).to(torch.uint8)
    true = study_true_views(metrics, images, torch.tensor([0, 1, -1, 0, 1, 0]), batch=4)
    scorer = Scorer(metrics, true)
    for rows in (slice(0, 4), slice(4, 6)):
        for views in ([0, 2], [1]):
            scorer.add(rows, torch.tensor(views), noisy[rows][:, views])
    return scorer.scores(), true.reference


def test_scores_are_those_of_the_cpu(device: torch.device, tmp_path: Path, exact_float32: None):
    torch.manual_seed(0)
    torch.save(squeezenet1_1().state_dict(), tmp_path / "squeezenet.pth")
    save_classifier(tmp_path / "classifier", build_classifier("mobilenet-v3-small", CLASSES), {})
    found, reference = scores(tmp_path, device)
    expected, expected_reference = scores(tmp_path, torch.device("cpu"))
    assert list(found) == ["psnr", "ssim", "lpips", "coherence", "feature_frechet"]
    for name, estimate in found.items():
        assert estimate.mean == pytest.approx(expected[name].mean, rel=1e-3), name
        assert estimate.standard_error == pytest.approx(expected[name].standard_error, rel=1e-2), name
    assert found["feature_frechet"].mean > 0
    assert reference["coherence"].count == expected_reference["coherence"].count == 15
