"""Metrics against values worked out by hand; what is measured, and why the rest is not; means and their intervals."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from torchmetrics.image import PeakSignalNoiseRatio, StructuralSimilarityIndexMeasure

from dimvida.errors import InputError
from dimvida.evaluation import metrics as metrics_module
from dimvida.evaluation import networks
from dimvida.evaluation.metrics import PICTURE_CHUNK, Tally, build_metrics, colour, estimate_mean, psnr, ssim
from dimvida.evaluation.weights import Unavailable
from dimvida.models.classifiers import ImageClassifier, build_classifier
from dimvida.records import to_json
from dimvida.results.metrics import METRICS, Metric
from dimvida.results.schema import Estimate


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
    a, b = noise(PICTURE_CHUNK + 3), noise(PICTURE_CHUNK + 3, seed=1)
    for metric in (psnr, ssim, colour):
        together = metric(a, b)
        assert together.shape == (PICTURE_CHUNK + 3,) and together.dtype == torch.float64
        for place in (0, PICTURE_CHUNK - 1, PICTURE_CHUNK, PICTURE_CHUNK + 2):
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
    metrics = build_metrics(64, CLASSES, CPU)
    assert sorted([*metrics.available, *metrics.reasons]) == sorted(METRICS)


def test_a_network_declares_the_metrics_that_it_makes(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(networks, "NETWORK_METRICS", {})

    @networks.measures(brightness="pictures", brightness_frechet="distances")
    class Brightness:
        made = 0

        @classmethod
        def obtain(cls, inputs: networks.MetricInputs) -> Brightness:
            if inputs.image_size < 32:
                raise Unavailable("sees nothing that small")
            cls.made += 1
            return cls()

    monkeypatch.setattr(metrics_module, "NETWORK_METRICS", networks.NETWORK_METRICS)
    for name in ("brightness", "brightness_frechet"):
        monkeypatch.setitem(METRICS, name, Metric(name, name, 2))
    names = ("psnr", "brightness", "brightness_frechet")
    metrics = build_metrics(32, (), CPU, names=names)
    assert metrics.available == names and metrics.per_picture == ("psnr", "brightness")
    assert metrics.networks == [metrics.pictures["brightness"]] and Brightness.made == 1
    reasons = build_metrics(16, (), CPU, names=names).reasons
    assert reasons == dict.fromkeys(names[1:], "sees nothing that small")


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
    assert len(metrics.networks) == 1  # it looks once for both
    seen, features = metrics.judged["coherence"](torch.zeros(2, 3, 32, 32, dtype=torch.uint8))
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


def test_no_freedom_no_interval():
    single = estimate_mean(torch.tensor([6.0], dtype=torch.float64), torch.tensor([3]))
    assert (single.mean, single.count) == (2.0, 3)
    assert to_json(single) == {"mean": 2.0, "standard_error": None, "low": None, "high": None, "count": 3}


def test_an_interval_worked_out_by_hand():
    # Object means 20, 23 and 26 of four pictures each: standard deviation 3, two degrees of freedom.
    estimate = estimate_mean(torch.tensor([80.0, 92.0, 104.0], dtype=torch.float64), torch.tensor([4, 4, 4]))
    half = 4.30265 * 3 / math.sqrt(3)
    assert (estimate.mean, estimate.count) == (23.0, 12)
    assert (estimate.low, estimate.high) == pytest.approx((23 - half, 23 + half), rel=1e-5)


def test_the_standard_error_of_one_picture_of_each_object_is_the_usual_one():
    values = torch.rand(50, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    estimate = estimate_mean(values, torch.ones(50, dtype=torch.int64))
    assert estimate.standard_error == pytest.approx((values.std() / math.sqrt(50)).item())


def test_objects_without_pictures_do_not_count():
    sums, counts = torch.tensor([80.0, 0.0, 104.0], dtype=torch.float64), torch.tensor([4, 0, 4])
    assert estimate_mean(sums, counts) == estimate_mean(sums[[0, 2]], counts[[0, 2]])


def test_nothing_to_average_is_null_in_json():
    nothing = estimate_mean(torch.zeros(2, dtype=torch.float64), torch.zeros(2, dtype=torch.int64), equal=8)
    text = json.dumps(to_json(nothing), allow_nan=False)
    assert json.loads(text) == {
        "mean": None, "standard_error": None, "low": None, "high": None, "count": 0, "equal": 8
    }  # fmt: skip


@pytest.mark.parametrize("objects", [5, 40])
def test_intervals_of_means_hold_as_often_as_they_say(objects: int):
    generator = torch.Generator().manual_seed(objects)
    trials, held = 1000, 0
    for _ in range(trials):
        # Four pictures of an object have much in common; counted as independent, they would hold half as often.
        values = torch.randn(objects, 1, generator=generator) + 0.3 * torch.randn(objects, 4, generator=generator)
        values = values.double()
        estimate = estimate_mean(values.sum(1), torch.full((objects,), 4))
        held += estimate.low <= 0 <= estimate.high
    # Three standard errors of a proportion of 1000 around 95 %.
    assert 0.929 <= held / trials <= 0.971


def test_a_tally_has_every_mean():
    tally = Tally(3, 4, count_equal=True)
    inf, nan = math.inf, math.nan
    tally.add(slice(0, 2), torch.tensor([1, 3]), torch.tensor([[1.0, 3.0], [5.0, inf]], dtype=torch.float64))
    tally.add(slice(2, 3), torch.tensor([0, 1]), torch.tensor([[nan, 9.0]], dtype=torch.float64))
    tally.add(slice(0, 2), torch.tensor([1, 2]), torch.tensor([[2.0, 4.0], [6.0, 8.0]], dtype=torch.float64))

    def facts(estimate: Estimate) -> tuple[float, int, int | None]:
        return estimate.mean, estimate.count, estimate.equal

    assert facts(tally.estimate()) == (38 / 8, 8, 1)
    assert facts(tally.estimate(views=[1])) == (23 / 5, 5, 0)
    assert facts(tally.estimate(views=[3])) == (3.0, 1, 1)
    assert facts(tally.estimate(objects=torch.tensor([False, True, True]))) == (28 / 4, 4, 1)
    assert facts(tally.estimate(views=[1, 3])) == (26 / 6, 6, 1)
    assert math.isnan(tally.estimate(views=[0]).mean)
    assert tally.object_means().tolist() == [10 / 4, 19 / 3, 9.0]


def test_a_tally_of_squares_estimates_the_root_of_their_mean():
    tally, squares = Tally(4, 1, root=True), Tally(4, 1)
    for each in (tally, squares):
        each.add(slice(0, 4), torch.tensor([0]), torch.tensor([[0.0], [0.04], [0.09], [0.16]], dtype=torch.float64))
    root, square = tally.estimate(), squares.estimate()
    assert root.mean == pytest.approx(0.0725**0.5) and root.count == 4
    assert (root.low, root.high) == pytest.approx((max(square.low, 0) ** 0.5, square.high**0.5))
    assert root.standard_error == pytest.approx(square.standard_error / 2 / root.mean)
    assert math.isnan(tally.estimate(objects=torch.zeros(4, dtype=torch.bool)).mean)
    assert math.isnan(tally.estimate(objects=torch.arange(4) == 1).low)


def test_an_object_whose_pictures_are_all_right_is_the_best():
    tally = Tally(1, 2, count_equal=True)
    tally.add(slice(0, 1), torch.tensor([0, 1]), torch.full((1, 2), math.inf, dtype=torch.float64))
    assert tally.object_means().tolist() == [math.inf]
