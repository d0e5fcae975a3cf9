"""Sets of known views, and means over pictures."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from dimvida.errors import InputError
from dimvida.evaluation.views import mean_score, sample_subsets, subsets


def test_standard_error_counts_objects_not_pictures():
    # Three objects of four equal pictures each are three independent values, not twelve.
    values = torch.tensor([20.0, 23.0, 26.0], dtype=torch.float64)[:, None].expand(3, 4)
    score = mean_score(values)
    assert (score.mean, score.pictures) == (23.0, 12)
    assert score.standard_error == pytest.approx(3 / math.sqrt(3))


def test_standard_error_of_one_picture_per_object_is_the_usual_one():
    values = torch.rand(50, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert mean_score(values).standard_error == pytest.approx((values.std() / math.sqrt(50)).item())


def test_equal_pictures_are_counted_and_left_out():
    values = torch.tensor([[10.0, math.inf], [20.0, 30.0]], dtype=torch.float64)
    score = mean_score(values)
    assert (score.mean, score.pictures, score.equal) == (20.0, 3, 1)
    nothing = mean_score(torch.full((2, 2), math.inf, dtype=torch.float64))
    assert math.isnan(nothing.mean) and (nothing.pictures, nothing.equal) == (0, 4)


def test_one_object_has_no_standard_error():
    score = mean_score(torch.tensor([[1.0, 2.0]], dtype=torch.float64))
    assert score.mean == 1.5 and math.isnan(score.standard_error)


@pytest.mark.parametrize("known", [0, 4, -1])
def test_numbers_of_known_views_that_leave_nothing_to_do(known: int):
    for choose in (subsets, lambda views, known: sample_subsets(views, known, 10, seed=0)):
        with pytest.raises(InputError, match=f"--known {known}: must be between 1 and 3"):
            choose(4, known)


def test_too_many_subsets():
    with pytest.raises(InputError, match="2704156 subsets of 24 views are too many"):
        subsets(24, 12)
    assert len(subsets(24, 2)) == 276


def test_all_sets_where_they_are_few():
    assert sample_subsets(4, 2, 6, seed=5) == list(itertools.combinations(range(4), 2))


@pytest.mark.parametrize(("views", "known"), [(6, 3), (24, 1), (24, 3), (24, 12), (24, 23)])
def test_sampled_sets_are_different_sets_of_that_size(views: int, known: int):
    most = min(15, math.comb(views, known) - 1)
    drawn = sample_subsets(views, known, most, seed=0)
    assert len(set(drawn)) == len(drawn) == most
    assert drawn == sorted(drawn)
    assert all(len(set(subset)) == known and set(subset) <= set(range(views)) for subset in drawn)
    assert drawn == sample_subsets(views, known, most, seed=0)
    assert drawn != sample_subsets(views, known, most, seed=1)


def test_every_set_can_be_drawn():
    drawn = {subset for seed in range(200) for subset in sample_subsets(5, 2, 3, seed)}
    assert drawn == set(itertools.combinations(range(5), 2))
