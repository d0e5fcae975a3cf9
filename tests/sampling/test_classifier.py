"""The mean over the views, and nothing of the generator in the classifier."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

import dimvida
from dimvida.errors import InputError

CLASSES = 5


@pytest.fixture(scope="module")
def model(tiny_checkpoint: Path) -> dimvida.MultiViewModel:
    return dimvida.load(tiny_checkpoint)


@pytest.fixture
def classifier() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, CLASSES)).eval()


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randint(0, 256, (6, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("average", ["probabilities", "logits"])
def test_it_is_the_mean_of_what_the_classifier_says_of_each_view(model, classifier, images, average: str):
    whole = dimvida.MultiViewClassifier(classifier, model, average=average, seed=3, steps=2)
    ids = torch.arange(6) * 7
    got = whole(images, "back", ids)
    views = torch.zeros(6, 4, 3, 16, 16, dtype=torch.uint8)
    views[:, 2] = images
    known = torch.tensor([False, False, True, False]).expand(6, -1)
    completed = model.generate(views, known, seed=3, steps=2, sample_ids=ids)
    outputs = torch.stack([classifier(completed[:, view].float() / 255) for view in range(4)])
    expected = (outputs.softmax(-1) if average == "probabilities" else outputs).mean(0)
    torch.testing.assert_close(got, expected)
    torch.testing.assert_close(whole(views, known, ids), got)
    assert not torch.allclose(got, outputs[2].softmax(-1) if average == "probabilities" else outputs[2])


def test_with_every_view_known_nothing_is_generated(model, classifier):
    views = torch.randint(0, 256, (3, 4, 3, 16, 16), dtype=torch.uint8)
    known = torch.ones(3, 4, dtype=torch.bool)
    whole = dimvida.MultiViewClassifier(classifier, model, average="logits")
    torch.testing.assert_close(
        whole(views, known), classifier(views.flatten(0, 1).float() / 255).view(3, 4, -1).mean(1)
    )


def test_only_the_classifier_is_trained_and_saved(model, classifier, images):
    whole = dimvida.MultiViewClassifier(classifier, model, steps=1)
    assert {name.split(".")[0] for name in whole.state_dict()} == {"classifier"}
    whole(images, "front").log().sum().backward()
    assert all(parameter.grad is not None for parameter in classifier.parameters())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_what_does_not_fit_is_refused(model, classifier, images):
    with pytest.raises(InputError, match="choose from probabilities, logits"):
        dimvida.MultiViewClassifier(classifier, model, average="votes")
    whole = dimvida.MultiViewClassifier(classifier, model)
    with pytest.raises(InputError, match="no view 'top'; it has front, right, back, left"):
        whole(images, "top")
    with pytest.raises(ValueError, match=r"\[B, C, H, W\]"):
        whole(images[0], "front")
