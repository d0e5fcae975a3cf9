"""Which sets of known views are given."""

from __future__ import annotations

import itertools
import math

import pytest

from dimvida.errors import InputError
from dimvida.evaluation.objects import view_subsets


@pytest.mark.parametrize("known", [0, 4, -1])
def test_no_set_leaves_nothing_to_do(known: int):
    for most in (None, 10):
        with pytest.raises(InputError, match=f"--known {known}: must be between 1 and 3"):
            view_subsets(4, known, most)


def test_too_many_subsets():
    with pytest.raises(InputError, match="2704156 subsets of 24 views are too many"):
        view_subsets(24, 12)
    assert len(view_subsets(24, 2)) == 276


def test_all_sets_where_they_are_few():
    assert view_subsets(4, 2, 6, seed=5) == list(itertools.combinations(range(4), 2))


@pytest.mark.parametrize(("views", "known"), [(6, 3), (24, 1), (24, 3), (24, 12), (24, 23)])
def test_sampled_sets_are_different_sets_of_that_size(views: int, known: int):
    most = min(15, math.comb(views, known) - 1)
    drawn = view_subsets(views, known, most, seed=0)
    assert len(set(drawn)) == len(drawn) == most
    assert drawn == sorted(drawn)
    assert all(len(set(subset)) == known and set(subset) <= set(range(views)) for subset in drawn)
    assert drawn == view_subsets(views, known, most, seed=0)
    assert drawn != view_subsets(views, known, most, seed=1)


def test_every_set_can_be_drawn():
    drawn = {subset for seed in range(200) for subset in view_subsets(5, 2, 3, seed)}
    assert drawn == set(itertools.combinations(range(5), 2))
