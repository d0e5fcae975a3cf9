"""Averages over views against hand-computed cases."""

from __future__ import annotations

import math

import pytest
import torch

from dimvida.errors import InputError
from dimvida.sampling.averaging import AVERAGES, average_views

# Two views, two classes: probabilities (0.8, 0.2) and (0.4, 0.6).
LOGITS = torch.tensor([[[math.log(0.8), math.log(0.2)], [math.log(0.4), math.log(0.6)]]])


def entropy(*probabilities: float) -> float:
    return -sum(p * math.log(p) for p in probabilities)


def test_probabilities():
    torch.testing.assert_close(average_views(LOGITS, "probabilities"), torch.tensor([[0.6, 0.4]]))


def test_logits():
    expected = torch.tensor([[math.log(0.8 * 0.4) / 2, math.log(0.2 * 0.6) / 2]])
    torch.testing.assert_close(average_views(LOGITS, "logits"), expected)


def test_confidence():
    first, second = 1 - entropy(0.8, 0.2) / math.log(2), 1 - entropy(0.4, 0.6) / math.log(2)
    mean = (first * 0.8 + second * 0.4) / (first + second)
    torch.testing.assert_close(average_views(LOGITS, "confidence"), torch.tensor([[mean, 1 - mean]]))


def test_confidence_trusts_the_view_that_knows():
    sure, unsure = [0.0, 2.0, 0.0], [1.0, 0.0, 0.9]
    logits = torch.tensor([[sure, unsure, unsure, unsure, unsure]])
    assert int(average_views(logits, "probabilities").argmax()) == 0
    assert int(average_views(logits, "confidence").argmax()) == 1


def test_views_that_know_nothing_or_everything_give_no_nan():
    flat, certain = torch.zeros(1, 3, 4), torch.tensor([[[1e4, 0.0], [0.0, 1e4]]])
    torch.testing.assert_close(average_views(flat, "confidence"), torch.full((1, 4), 0.25))
    torch.testing.assert_close(average_views(certain, "confidence"), torch.full((1, 2), 0.5))


@pytest.mark.parametrize("average", AVERAGES)
def test_one_view_is_itself_and_the_order_does_not_matter(average: str):
    logits = torch.randn(5, 3, 4, generator=torch.Generator().manual_seed(0))
    alone = average_views(logits[:, :1], average)
    expected = logits[:, 0] if average == "logits" else logits[:, 0].softmax(-1)
    torch.testing.assert_close(alone, expected)
    torch.testing.assert_close(average_views(logits.flip(1), average), average_views(logits, average))


def test_another_average_is_refused():
    with pytest.raises(InputError, match="choose from probabilities, logits, confidence"):
        average_views(LOGITS, "votes")
