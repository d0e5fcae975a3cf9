"""Coherence by a classifier whose answers are known."""

from __future__ import annotations

import math

import pytest
import torch

from dimvida.errors import InputError
from dimvida.evaluation.judge import CHUNK, Judge
from dimvida.evaluation.tally import Tally

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


def test_gray_pictures_are_colours_too():
    gray = torch.full((1, 1, 4, 4), 70, dtype=torch.uint8)
    _, features = judge(())(gray)
    assert features.tolist() == [[70.0] * 3]


def test_many_pictures():
    images = pictures(*[RED, GREEN, BLUE] * CHUNK)[: 2 * CHUNK + 5]
    seen, features = judge(())(images)
    assert seen.tolist() == ([1, 2, 0] * CHUNK)[: 2 * CHUNK + 5]
    assert features.shape == (2 * CHUNK + 5, 3)


def test_a_class_that_the_classifier_does_not_know():
    with pytest.raises(InputError, match=r"--classifier here: does not know the class 'pink' of the data"):
        judge(("red", "pink"))
