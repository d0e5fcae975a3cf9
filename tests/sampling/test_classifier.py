"""The mean over the views, and nothing of the generator in the classifier."""

from __future__ import annotations

import copy
import math
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn

import dimvida
from dimvida.errors import InputError
from dimvida.sampling.classifier import AVERAGES, OUTPUTS, average_views

CLASSES = 5


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
    whole = dimvida.MultiViewClassifier(classifier, model, average=average, output=average, seed=3, steps=2)
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
    torch.nn.functional.cross_entropy(whole(images, "front"), torch.arange(6) % CLASSES).backward()
    assert all(parameter.grad is not None for parameter in classifier.parameters())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_what_does_not_fit_is_refused(model, classifier, images):
    with pytest.raises(InputError, match="choose from probabilities, logits"):
        dimvida.MultiViewClassifier(classifier, model, average="votes")
    whole = dimvida.MultiViewClassifier(classifier, model)
    with pytest.raises(InputError, match="no view 'top'; it has front, right, back, left"):
        whole(images, "top")
    with pytest.raises(InputError, match="choose from logits, log-probabilities, probabilities"):
        dimvida.MultiViewClassifier(classifier, model, output="votes")
    with pytest.raises(ValueError, match=r"\[B, 3, 16, 16\] of the named view, not torch.uint8 \[1, 1, 6, 3, 16, 16\]"):
        whole(images[None, None], "front")
    assert torch.equal(whole(images[0], "front"), whole(images[:1], "front"))


def test_logits_are_what_it_returns_unless_asked(model, classifier, images):
    labels = torch.arange(6) % CLASSES
    whole = dimvida.MultiViewClassifier(classifier, model, steps=1)
    probabilities = dimvida.MultiViewClassifier(classifier, model, steps=1, output="probabilities")(images, "front")
    torch.testing.assert_close(whole(images, "front").softmax(1), probabilities)
    expected = -probabilities[torch.arange(6), labels].log().mean()
    torch.testing.assert_close(torch.nn.functional.cross_entropy(whole(images, "front"), labels), expected)
    assert "output='logits'" in repr(whole)


def test_several_views_by_name_are_those_of_a_mask(model, classifier, images):
    whole = dimvida.MultiViewClassifier(classifier, model, steps=1)
    views = torch.zeros(3, 4, 3, 16, 16, dtype=torch.uint8)
    views[:, 3], views[:, 0] = images[:3], images[3:]
    known = torch.tensor([True, False, False, True]).expand(3, -1)
    named = whole(torch.stack([images[:3], images[3:]], 1), ["left", "front"])
    torch.testing.assert_close(named, whole(views, known))
    torch.testing.assert_close(whole(views, ("front", "left")), named)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64], ids=str)
def test_a_classifier_in_another_precision(model, classifier, images, dtype: torch.dtype):
    expected = dimvida.MultiViewClassifier(classifier, model, steps=1)(images, "front")
    got = dimvida.MultiViewClassifier(copy.deepcopy(classifier), model, steps=1).to(dtype)(images, "front")
    assert got.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert (got - expected).abs().max() < (1e-5 if dtype == torch.float64 else 0.02)
    assert model.latent_mean.dtype == torch.float32  # the generator is no part of it


def test_autocast_is_for_the_classifier_and_not_for_the_views(model, images):
    """The views are exactly those that are made without, which a classifier of no products shows."""
    whole = dimvida.MultiViewClassifier(nn.Flatten(), model, average="logits", steps=2)
    expected = whole(images, "front")
    with torch.autocast("cpu", torch.bfloat16):
        got = whole(images, "front")
    assert got.dtype == torch.float32 and torch.equal(got, expected)


@pytest.mark.parametrize("backend", ["eager", "fused"])
def test_threads_share_one(model, classifier, images, backend: str):
    whole = dimvida.MultiViewClassifier(classifier, model, steps=4, backend=backend)
    halves = [images[:3], images[3:]]
    with torch.no_grad():
        expected = [whole(half, "front") for half in halves]
        with ThreadPoolExecutor(4) as pool:
            got = list(pool.map(lambda place: whole(halves[place % 2], "front"), range(16)))
    for place, result in enumerate(got):
        torch.testing.assert_close(result, expected[place % 2])


# Two views, two classes: probabilities (0.8, 0.2) and (0.4, 0.6).
LOGITS = torch.tensor([[[math.log(0.8), math.log(0.2)], [math.log(0.4), math.log(0.6)]]])


def entropy(*probabilities: float) -> float:
    return -sum(p * math.log(p) for p in probabilities)


def test_probabilities():
    torch.testing.assert_close(average_views(LOGITS, "probabilities", "probabilities"), torch.tensor([[0.6, 0.4]]))


def test_logits():
    expected = torch.tensor([[math.log(0.8 * 0.4) / 2, math.log(0.2 * 0.6) / 2]])
    torch.testing.assert_close(average_views(LOGITS, "logits"), expected)


def test_confidence():
    first, second = 1 - entropy(0.8, 0.2) / math.log(2), 1 - entropy(0.4, 0.6) / math.log(2)
    mean = (first * 0.8 + second * 0.4) / (first + second)
    torch.testing.assert_close(average_views(LOGITS, "confidence", "probabilities"), torch.tensor([[mean, 1 - mean]]))


def test_confidence_trusts_the_view_that_knows():
    sure, unsure = [0.0, 2.0, 0.0], [1.0, 0.0, 0.9]
    logits = torch.tensor([[sure, unsure, unsure, unsure, unsure]])
    assert int(average_views(logits, "probabilities").argmax()) == 0
    assert int(average_views(logits, "confidence").argmax()) == 1


def test_views_that_know_nothing_or_everything_give_no_nan():
    flat, certain = torch.zeros(1, 3, 4), torch.tensor([[[1e4, 0.0], [0.0, 1e4]]])
    for output, value in (("probabilities", lambda p: p), ("logits", math.log)):
        torch.testing.assert_close(average_views(flat, "confidence", output), torch.full((1, 4), value(0.25)))
        torch.testing.assert_close(average_views(certain, "confidence", output), torch.full((1, 2), value(0.5)))


@pytest.mark.parametrize("average", AVERAGES)
def test_of_a_single_class_every_view_is_sure(average: str):
    logits = torch.tensor([[[3.0], [-2.0]]])
    assert average_views(logits, average, "probabilities").tolist() == [[1.0]]
    assert average_views(logits, average, "log-probabilities").tolist() == [[0.0]]


@pytest.mark.parametrize("average", AVERAGES)
def test_one_view_is_itself_and_the_order_does_not_matter(average: str):
    logits = torch.randn(5, 3, 4, generator=torch.Generator().manual_seed(0))
    alone = average_views(logits[:, :1], average, "probabilities")
    torch.testing.assert_close(alone, logits[:, 0].softmax(-1))
    torch.testing.assert_close(average_views(logits.flip(1), average), average_views(logits, average))


def test_another_average_is_refused():
    with pytest.raises(InputError, match="choose from probabilities, logits, confidence"):
        average_views(LOGITS, "votes")


def test_another_output_is_refused():
    with pytest.raises(InputError, match="choose from logits, log-probabilities, probabilities"):
        average_views(LOGITS, "logits", "votes")


@pytest.mark.parametrize("average", AVERAGES)
def test_outputs_are_one_answer_in_three_forms(average: str):
    logits = 3 * torch.randn(5, 3, 4, generator=torch.Generator().manual_seed(0))
    probabilities = average_views(logits, average, "probabilities")
    torch.testing.assert_close(probabilities.sum(-1), torch.ones(5))
    torch.testing.assert_close(average_views(logits, average, "log-probabilities").exp(), probabilities)
    torch.testing.assert_close(average_views(logits, average).softmax(-1), probabilities)
    # What training sees: cross entropy of the default is the negative logarithm of the mean probability.
    labels = torch.tensor([0, 1, 2, 3, 0])
    loss = torch.nn.functional.cross_entropy(average_views(logits, average), labels)
    torch.testing.assert_close(loss, -probabilities[torch.arange(5), labels].log().mean())


@pytest.mark.parametrize("average", AVERAGES)
def test_a_class_that_no_view_believes_in_has_a_finite_loss_and_a_gradient(average: str):
    logits = torch.tensor([[[200.0, 0.0], [300.0, 0.0]]], requires_grad=True)
    loss = torch.nn.functional.cross_entropy(average_views(logits, average), torch.tensor([1]))
    loss.backward()
    assert 199 < float(loss.detach()) < 301
    assert logits.grad is not None and logits.grad.isfinite().all() and float(logits.grad.abs().sum()) > 0.5


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("average", AVERAGES)
def test_a_low_precision_is_averaged_in_float32_and_a_high_one_kept(average: str, output: str):
    for given, returned in ((torch.bfloat16, torch.float32), (torch.float16, torch.float32), (torch.float64,) * 2):
        got = average_views(LOGITS.to(given), average, output)
        assert got.dtype == returned
        torch.testing.assert_close(got, average_views(LOGITS.to(given).to(returned), average, output))
