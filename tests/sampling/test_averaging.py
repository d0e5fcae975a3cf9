"""Averages over views against hand-computed cases."""

from __future__ import annotations

import math

import pytest
import torch

from dimvida.errors import InputError
from dimvida.sampling.averaging import AVERAGES, OUTPUTS, average_views

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
