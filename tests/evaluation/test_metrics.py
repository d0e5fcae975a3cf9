"""PSNR and SSIM against values that can be worked out by hand; what is measured, and why the rest is not."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torchmetrics.image import PeakSignalNoiseRatio, StructuralSimilarityIndexMeasure

from dimvida.errors import InputError
from dimvida.evaluation.metrics import CHUNK, MAKERS, build_metrics, colour, psnr, ssim
from dimvida.models.classifiers import ImageClassifier, build_classifier
from dimvida.records import to_json
from dimvida.results.metrics import METRICS


def noise(count: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, 16, 16), generator=generator, dtype=torch.uint8)


def test_psnr_of_a_constant_difference():
    dark = torch.zeros(1, 3, 16, 16, dtype=torch.uint8)
    # An error of 51 levels is 0.2 of the range: 10 log10(1 / 0.04) = 13.979 dB.
    assert psnr(dark, dark + 51).item() == pytest.approx(10 * math.log10(25), abs=1e-5)


def test_psnr_is_per_picture():
    a = torch.zeros(2, 3, 16, 16, dtype=torch.uint8)
    b = a.clone()
    b[0, 0, 0, 0] = 255  # one of 768 values is wrong by the whole range
    b[1] = 255
    assert psnr(a, b).tolist() == pytest.approx([10 * math.log10(768), 0.0], abs=1e-5)


def test_equal_pictures():
    images = noise(3)
    assert ssim(images, images).tolist() == [1.0, 1.0, 1.0]
    assert psnr(images, images).tolist() == [math.inf] * 3


def test_ssim_of_two_flat_pictures():
    # Without variance only the means count: (2 a b + c1) / (a^2 + b^2 + c1), c1 = 0.01^2.
    a = torch.full((1, 3, 16, 16), 51, dtype=torch.uint8)
    b = torch.full((1, 3, 16, 16), 204, dtype=torch.uint8)
    expected = (2 * 0.2 * 0.8 + 1e-4) / (0.04 + 0.64 + 1e-4)
    assert ssim(a, b).item() == pytest.approx(expected, abs=1e-4)


def test_many_pictures_are_as_each_alone():
    a, b = noise(CHUNK + 3), noise(CHUNK + 3, seed=1)
    for metric in (psnr, ssim, colour):
        together = metric(a, b)
        assert together.shape == (CHUNK + 3,) and together.dtype == torch.float64
        for place in (0, CHUNK - 1, CHUNK, CHUNK + 2):
            one = metric(a[place : place + 1], b[place : place + 1])
            assert one.item() == pytest.approx(together[place].item(), abs=1e-6)


def painted(*colours: tuple[int, int, int], background: int = 255) -> torch.Tensor:
    """uint8 [1, 3, 16, 16]: columns of these colours, 5 and up, on a background."""
    picture = torch.full((1, 3, 16, 16), background, dtype=torch.uint8)
    for column, values in enumerate(colours, 5):
        picture[0, :, 4:12, column] = torch.tensor(values, dtype=torch.uint8)[:, None]
    return picture


def test_colour_is_that_of_the_object_whatever_its_size_and_the_background():
    wide, narrow = painted(*[(100, 50, 0)] * 6), painted(*[(100, 50, 0)] * 2)
    assert colour(narrow, wide).item() == pytest.approx(0, abs=1e-12)
    other = painted(*[(151, 50, 0)] * 3)  # 51 levels are 0.2 of the range, in one of three channels
    assert colour(other, wide).item() == pytest.approx(0.04 / 3, rel=1e-5)
    assert colour(painted((100, 50, 0), background=0), painted((151, 50, 0), background=0)).item() == pytest.approx(
        0.04 / 3, rel=1e-5
    )
    two = painted((100, 50, 0), (200, 50, 0))  # whose mean is 150
    assert colour(two, wide).item() == pytest.approx((50 / 255) ** 2 / 3, rel=1e-5)


def test_colour_takes_what_is_like_the_background_for_it():
    truth = painted(*[(100, 50, 0)] * 6)
    noisy = painted(*[(100, 50, 0)] * 6)
    noisy[:, :, 13:] -= 25  # of 255: within a tenth
    assert colour(noisy, truth).item() == pytest.approx(0, abs=1e-12)
    noisy[:, :, 13:] -= 1
    assert colour(noisy, truth).item() > 0.01


def test_colour_of_nothing_is_the_background_s():
    truth = painted(*[(55, 155, 255)] * 6)
    expected = sum((difference / 255) ** 2 for difference in (200, 100, 0)) / 3
    assert colour(torch.full_like(truth, 255), truth).item() == pytest.approx(expected, rel=1e-5)
    blank = torch.full_like(truth, 255)
    assert colour(blank, blank).item() == 0


def test_they_are_those_of_torchmetrics():
    a, b = noise(5), noise(5, seed=1)
    b[2:] = (0.8 * a[2:] + 0.2 * b[2:]).to(torch.uint8)  # some alike, some not
    theirs = PeakSignalNoiseRatio(data_range=255.0), StructuralSimilarityIndexMeasure(data_range=255.0)
    for ours, metric in zip((psnr, ssim), theirs, strict=True):
        expected = []
        for x, y in zip(a, b, strict=True):
            metric.reset()
            metric.update(x[None].float(), y[None].float())
            expected.append(metric.compute().item())
        assert ours(a, b).tolist() == pytest.approx(expected, abs=1e-4)


def test_shapes_that_do_not_fit():
    with pytest.raises(ValueError, match=r"\[N, C, H, W\]"):
        psnr(noise(2), noise(3))


CPU = torch.device("cpu")
CLASSES = ("chair", "table")


pytestmark = pytest.mark.usefixtures("no_network")


@pytest.fixture(scope="module")
def classifier() -> ImageClassifier:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build_classifier("mobilenet-v3-small", CLASSES)


def test_every_metric_of_the_registry_can_be_made():
    assert list(MAKERS) == list(METRICS)


def test_reasons_say_what_to_do():
    metrics = build_metrics(64, CLASSES, CPU)
    assert set(metrics.reasons) == {"lpips", "fid", "coherence", "feature_frechet"}  # what needs a network
    assert metrics.available == metrics.per_picture == tuple(name for name in METRICS if name not in metrics.reasons)
    assert "squeezenet1_1-b8a52dc0.pth" in metrics.reasons["lpips"] and "--lpips-weights" in metrics.reasons["lpips"]
    assert "--judge" in metrics.reasons["coherence"] and "--judge" in metrics.reasons["feature_frechet"]
    table = to_json(metrics.to_result())
    assert table["psnr"] == {"available": True}
    assert table["fid"] == {"available": False, "reason": metrics.reasons["fid"]}


def test_pictures_that_are_too_small():
    metrics = build_metrics(10, (), CPU, names=("psnr", "ssim", "lpips"))
    assert metrics.available == ("psnr",)
    assert "11 pixels" in metrics.reasons["ssim"] and "17 pixels" in metrics.reasons["lpips"]


def test_a_classifier_gives_two_metrics(classifier: ImageClassifier):
    metrics = build_metrics(32, CLASSES, CPU, names=("coherence", "feature_frechet"), classifier=classifier)
    assert metrics.available == ("coherence", "feature_frechet") and metrics.per_picture == ("coherence",)
    seen, features = metrics.judge(torch.zeros(2, 3, 32, 32, dtype=torch.uint8))
    assert seen.shape == (2,) and features.shape == (2, 1024)


def test_objects_without_classes_have_no_coherence(classifier: ImageClassifier):
    metrics = build_metrics(32, (), CPU, names=("coherence", "feature_frechet"), classifier=classifier)
    assert metrics.available == ("feature_frechet",)
    assert "no class" in metrics.reasons["coherence"]


def test_only_what_is_asked_for():
    metrics = build_metrics(64, (), CPU, names=("ssim",))
    assert metrics.available == ("ssim",) and not metrics.reasons
    assert to_json(metrics.to_result()) == {"ssim": {"available": True}}


def test_bad_input(classifier: ImageClassifier, tmp_path: Path):
    with pytest.raises(InputError, match=f"--metrics sharpness: choose from {', '.join(METRICS)}"):
        build_metrics(64, (), CPU, names=("sharpness",))
    with pytest.raises(InputError, match="does not know the class 'lamp'"):
        build_metrics(64, (*CLASSES, "lamp"), CPU, names=("coherence",), classifier=classifier)
    with pytest.raises(InputError, match=r"--lpips-weights .*nowhere\.pth: cannot be read"):
        build_metrics(64, (), CPU, names=("lpips",), lpips_weights=tmp_path / "nowhere.pth")
