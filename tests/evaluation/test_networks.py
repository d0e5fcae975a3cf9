"""LPIPS beside the authors' package with the same weights."""

from __future__ import annotations

import warnings
from pathlib import Path

import lpips
import pytest
import torch
from torchvision.models import squeezenet1_1

from dimvida.errors import InputError
from dimvida.evaluation.networks import CHUNK, SMALLEST, PerceptualDistance
from dimvida.evaluation.weights import SQUEEZENET, obtain_weights


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights as torchvision's file has them."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "squeezenet.pth"
    torch.save(squeezenet1_1().state_dict(), path)
    return path


def noise(count: int, size: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, size, size), generator=generator, dtype=torch.uint8)


def distance(weights: Path) -> PerceptualDistance:
    return PerceptualDistance(obtain_weights(SQUEEZENET, weights), f"--lpips-weights {weights}")


def by_the_package(weights: Path, images: torch.Tensor, references: torch.Tensor) -> list[float]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network = lpips.LPIPS(net="squeeze", pnet_rand=True, verbose=False)
    features = squeezenet1_1()
    features.load_state_dict(torch.load(weights, weights_only=True))
    # The package's slices are these parts of the features, by its source.
    for part, (start, stop) in enumerate(((0, 2), (2, 5), (5, 8), (8, 10), (10, 11), (11, 12), (12, 13)), 1):
        own = getattr(network.net, f"slice{part}")
        for ours, theirs in zip(own, features.features[start:stop], strict=True):
            ours.load_state_dict(theirs.state_dict())
    with torch.no_grad():
        # normalize=True takes [0, 1] to [-1, 1].
        return network(images.float() / 255, references.float() / 255, normalize=True).flatten().tolist()


@pytest.mark.parametrize("size", [SMALLEST, 64])
def test_it_is_that_of_the_package(weights: Path, size: int):
    a, b = noise(5, size, 0), noise(5, size, 1)
    expected = by_the_package(weights, a, b)
    assert distance(weights)(a, b).tolist() == pytest.approx(expected, rel=1e-5)
    assert min(expected) > 0.01


def test_equal_pictures_and_chunks(weights: Path):
    a, b = noise(CHUNK + 2, 20, 0), noise(CHUNK + 2, 20, 1)
    measure = distance(weights)
    values = measure(a, b)
    assert values.dtype == torch.float64 and values.shape == (CHUNK + 2,)
    assert measure(a[-1:], b[-1:]).item() == pytest.approx(values[-1].item(), rel=1e-4)
    assert measure(a[:3], a[:3]).tolist() == [0.0, 0.0, 0.0]


def test_gray_pictures_are_colours_too(weights: Path):
    a, b = noise(2, 20, 0)[:, :1], noise(2, 20, 1)[:, :1]
    assert distance(weights)(a, b).equal(distance(weights)(a.repeat(1, 3, 1, 1), b.repeat(1, 3, 1, 1)))


def test_a_file_of_features_alone_is_enough(weights: Path, tmp_path: Path):
    state = {k: v for k, v in torch.load(weights, weights_only=True).items() if k.startswith("features.")}
    torch.save(state, tmp_path / "features.pth")
    a, b = noise(2, 20, 0), noise(2, 20, 1)
    assert distance(tmp_path / "features.pth")(a, b).equal(distance(weights)(a, b))


def test_weights_of_something_else(weights: Path, tmp_path: Path):
    state = torch.load(weights, weights_only=True)
    cut = {**state, "features.0.weight": state["features.0.weight"][:, :1]}
    for wrong in ({"layer.weight": torch.zeros(3)}, cut):
        torch.save(wrong, tmp_path / "wrong.pth")
        with pytest.raises(InputError, match=r"wrong\.pth: is not SqueezeNet 1\.1 .*features\.0|0\.weight") as error:
            distance(tmp_path / "wrong.pth")
        assert "\n" not in str(error.value)


def test_random_numbers_elsewhere_stay_as_they_are(weights: Path):
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    distance(weights)
    assert torch.rand(1).equal(expected)
