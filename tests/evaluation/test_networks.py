"""LPIPS beside the authors' package, FID's features beside torchmetrics, and a judge whose answers are known."""

from __future__ import annotations

import math
import sys
import warnings
from pathlib import Path

import lpips
import pytest
import torch
from torchmetrics.image.fid import FrechetInceptionDistance
from torchvision.models import squeezenet1_1

from dimvida.errors import InputError
from dimvida.evaluation import networks
from dimvida.evaluation.frechet import FeatureSums, estimate_distance
from dimvida.evaluation.metrics import Tally, build_metrics
from dimvida.evaluation.networks import (
    INCEPTION_FEATURES,
    JUDGE_CHUNK,
    LPIPS_CHUNK,
    LPIPS_SMALLEST,
    InceptionFeatures,
    Judge,
    PerceptualDistance,
)
from dimvida.evaluation.weights import INCEPTION, SQUEEZENET, Unavailable, obtain_weights


@pytest.fixture(scope="module")
def squeezenet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights as torchvision's file has them."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "squeezenet.pth"
    torch.save(squeezenet1_1().state_dict(), path)
    return path


def noise(count: int, size: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, size, size), generator=generator, dtype=torch.uint8)


def distance(squeezenet: Path) -> PerceptualDistance:
    return PerceptualDistance(obtain_weights(SQUEEZENET, squeezenet), f"--lpips-weights {squeezenet}")


def by_the_package(squeezenet: Path, images: torch.Tensor, references: torch.Tensor) -> list[float]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network = lpips.LPIPS(net="squeeze", pnet_rand=True, verbose=False)
    features = squeezenet1_1()
    features.load_state_dict(torch.load(squeezenet, weights_only=True))
    # The package's slices are these parts of the features, by its source.
    for part, (start, stop) in enumerate(((0, 2), (2, 5), (5, 8), (8, 10), (10, 11), (11, 12), (12, 13)), 1):
        own = getattr(network.net, f"slice{part}")
        for ours, theirs in zip(own, features.features[start:stop], strict=True):
            ours.load_state_dict(theirs.state_dict())
    with torch.no_grad():
        # normalize=True takes [0, 1] to [-1, 1].
        return network(images.float() / 255, references.float() / 255, normalize=True).flatten().tolist()


@pytest.mark.parametrize("size", [LPIPS_SMALLEST, 64])
def test_it_is_that_of_the_package(squeezenet: Path, size: int):
    a, b = noise(5, size, 0), noise(5, size, 1)
    expected = by_the_package(squeezenet, a, b)
    assert distance(squeezenet)(a, b).tolist() == pytest.approx(expected, rel=1e-5)
    assert min(expected) > 0.01


def test_equal_pictures_and_chunks(squeezenet: Path):
    a, b = noise(LPIPS_CHUNK + 2, 20, 0), noise(LPIPS_CHUNK + 2, 20, 1)
    measure = distance(squeezenet)
    values = measure(a, b)
    assert values.dtype == torch.float64 and values.shape == (LPIPS_CHUNK + 2,)
    assert measure(a[-1:], b[-1:]).item() == pytest.approx(values[-1].item(), rel=1e-4)
    assert measure(a[:3], a[:3]).tolist() == [0.0, 0.0, 0.0]


def test_lpips_of_gray_pictures(squeezenet: Path):
    a, b = noise(2, 20, 0)[:, :1], noise(2, 20, 1)[:, :1]
    assert distance(squeezenet)(a, b).equal(distance(squeezenet)(a.repeat(1, 3, 1, 1), b.repeat(1, 3, 1, 1)))


def test_a_file_of_features_alone_is_enough(squeezenet: Path, tmp_path: Path):
    state = {k: v for k, v in torch.load(squeezenet, weights_only=True).items() if k.startswith("features.")}
    torch.save(state, tmp_path / "features.pth")
    a, b = noise(2, 20, 0), noise(2, 20, 1)
    assert distance(tmp_path / "features.pth")(a, b).equal(distance(squeezenet)(a, b))


def test_squeezenet_of_something_else(squeezenet: Path, tmp_path: Path):
    state = torch.load(squeezenet, weights_only=True)
    cut = {**state, "features.0.weight": state["features.0.weight"][:, :1]}
    for wrong in ({"layer.weight": torch.zeros(3)}, cut):
        torch.save(wrong, tmp_path / "wrong.pth")
        with pytest.raises(InputError, match=r"wrong\.pth: is not SqueezeNet 1\.1 .*features\.0|0\.weight") as error:
            distance(tmp_path / "wrong.pth")
        assert "\n" not in str(error.value)


def test_random_numbers_elsewhere_stay_as_they_are(squeezenet: Path):
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    distance(squeezenet)
    assert torch.rand(1).equal(expected)


CPU = torch.device("cpu")


def noisy_colours(count: int, seed: int) -> torch.Tensor:
    """Flat colours with noise, so that features vary."""
    generator = torch.Generator().manual_seed(seed)
    colours = torch.randint(0, 200, (count, 3, 1, 1), generator=generator)
    return (colours + torch.randint(0, 56, (count, 3, 16, 16), generator=generator)).to(torch.uint8)


def features(inception: Path) -> InceptionFeatures:
    return InceptionFeatures(obtain_weights(INCEPTION, inception), "--inception-weights")


@pytest.mark.slow
def test_the_distance_is_that_of_torchmetrics(inception: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(networks, "INCEPTION_FEATURES", 64)  # far fewer, for a test
    theirs = FrechetInceptionDistance(feature=64, feature_extractor_weights_path=str(inception))
    ours = features(inception)
    generated, true = noisy_colours(12, 0), noisy_colours(12, 1)
    theirs.update(true, real=True)
    theirs.update(generated, real=False)
    estimate = estimate_distance([FeatureSums.of(ours(generated).features)], [FeatureSums.of(ours(true).features)])
    assert estimate.mean == pytest.approx(theirs.compute().item(), rel=1e-3)
    assert estimate.mean > 0.01


@pytest.mark.slow
def test_the_features_of_fid_are_those_of_torchmetrics(inception: Path):
    theirs = FrechetInceptionDistance(feature=2048, feature_extractor_weights_path=str(inception)).inception
    images = noisy_colours(2, 0)
    found = features(inception)(images).features
    assert found.shape == (2, INCEPTION_FEATURES)
    torch.testing.assert_close(found, theirs(images))
    assert found.std(0).mean() > 0.01  # pictures differ


@pytest.mark.slow
def test_inception_of_something_else(inception: Path, tmp_path: Path):
    state = torch.load(inception, weights_only=True)
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


COLOURS = ("blue", "red", "green")  # of the classifier, in an order of its own


class ColourClassifier(torch.nn.Module):
    """Sees the brightest channel; its features are the mean channels."""

    def __init__(self) -> None:
        super().__init__()
        self.head = torch.nn.Linear(3, 3, bias=False)
        with torch.no_grad():
            self.head.weight.copy_(torch.tensor([[0.0, 0, 1], [1, 0, 0], [0, 1, 0]]))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(images.float().mean((2, 3)))


def pictures(*colours: tuple[int, int, int]) -> torch.Tensor:
    return torch.tensor(colours, dtype=torch.uint8)[:, :, None, None].expand(-1, -1, 4, 4)


RED, GREEN, BLUE = (200, 0, 10), (30, 90, 0), (0, 0, 255)


def judge(classes: tuple[str, ...]) -> Judge:
    return Judge(ColourClassifier(), COLOURS, classes, "--classifier here")


def test_coherence_by_hand():
    # The data's classes: 0 is red, 1 is green. Of two generated views each: both right, one, none, no class.
    seen, _ = judge(("red", "green"))(pictures(RED, RED, GREEN, BLUE, RED, BLUE, RED, GREEN))
    labels = torch.tensor([0, 1, 1, -1])
    agreement = judge(("red", "green")).agreement(seen.unflatten(0, (4, 2)), labels)
    assert agreement[:3].tolist() == [[1, 1], [1, 0], [0, 0]]
    assert agreement[3].isnan().all()
    tally = Tally(4, 2)
    tally.add(slice(0, 4), torch.tensor([0, 1]), agreement)
    estimate = tally.estimate()
    assert (estimate.mean, estimate.count, estimate.equal) == (3 / 6, 6, None)
    # Object means 1, 1/2, 0: standard deviation 1/2.
    assert estimate.standard_error == pytest.approx(0.5 / math.sqrt(3))


def test_features_are_what_the_last_layer_takes():
    images = pictures(RED, GREEN)
    _, features = judge(("red",))(images)
    assert features.tolist() == [list(map(float, RED)), list(map(float, GREEN))]
    _, again = judge(("red",))(images[:1])
    assert len(again) == 1


def test_a_judge_of_gray_pictures():
    gray = torch.full((1, 1, 4, 4), 70, dtype=torch.uint8)
    _, features = judge(())(gray)
    assert features.tolist() == [[70.0] * 3]


def test_many_pictures():
    images = pictures(*[RED, GREEN, BLUE] * JUDGE_CHUNK)[: 2 * JUDGE_CHUNK + 5]
    seen, features = judge(())(images)
    assert seen.tolist() == ([1, 2, 0] * JUDGE_CHUNK)[: 2 * JUDGE_CHUNK + 5]
    assert features.shape == (2 * JUDGE_CHUNK + 5, 3)


def test_a_class_that_the_classifier_does_not_know():
    with pytest.raises(InputError, match=r"--classifier here: does not know the class 'pink' of the data"):
        judge(("red", "pink"))
