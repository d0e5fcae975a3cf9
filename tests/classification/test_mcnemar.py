"""McNemar's test against published and enumerated values."""

from __future__ import annotations

import itertools

import pytest
import torch

from dimvida.classification.mcnemar import mcnemar, mid_p


def test_a_published_value():
    # Airway hyper-responsiveness before and after transplantation, Fagerland et al. 2013: mid-p 0.0391.
    assert mid_p(1, 7) == pytest.approx(0.0391, abs=5e-5)


@pytest.mark.parametrize(("only_a", "only_b"), [(0, 1), (0, 5), (2, 3), (1, 7), (4, 4), (6, 3)])
def test_enumerated(only_a: int, only_b: int):
    """Every outcome as far from the middle counts, those exactly as far by half."""
    count = only_a + only_b
    seen = abs(only_a - only_b)
    distances = [abs(2 * sum(coins) - count) for coins in itertools.product((0, 1), repeat=count)]
    expected = sum(1.0 if d > seen else 0.5 if d == seen else 0.0 for d in distances) / 2**count
    if only_a == only_b:
        expected = 1.0  # nothing can be nearer to the middle
    assert mid_p(only_a, only_b) == pytest.approx(expected, abs=1e-15)


def test_no_difference_and_symmetry():
    assert mid_p(0, 0) == 1.0
    assert mid_p(5, 5) == 1.0
    assert mid_p(3, 9) == mid_p(9, 3)


def test_thousands_of_objects_are_no_problem():
    assert 0 < mid_p(2000, 3000) < 1e-40
    assert mid_p(2500, 2500) == 1.0


def test_it_counts_objects_that_one_alone_has_right():
    a = torch.tensor([True, True, False, False, True])
    b = torch.tensor([True, False, True, False, False])
    result = mcnemar(a, b)
    assert (result.only_a, result.only_b, result.p) == (2, 1, mid_p(2, 1))
