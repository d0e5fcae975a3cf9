"""Masks of known views, and the times that they give the views."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from dimvida.diffusion.masking import multi_time, random_known
from dimvida.diffusion.schedule import VPSchedule

SCHEDULE = VPSchedule()


def test_multi_time_is_zero_for_known_views():
    known = torch.tensor([[True, False, False], [False, False, True]])
    expected = torch.tensor([[0, 0.5, 0.5], [0.5, 0.5, 0]])
    assert torch.equal(multi_time(0.5, known), expected)
    rows = multi_time(torch.tensor([0.5, 0.25]), known)
    assert torch.equal(rows, expected * torch.tensor([[1.0], [0.5]]))


@given(views=st.integers(2, 30), batch=st.integers(0, 50), drop=st.floats(0, 1), seed=st.integers(0, 2**32))
def test_random_known_always_leaves_something_missing(views, batch, drop, seed):
    generator = torch.Generator().manual_seed(seed)
    known = random_known(batch, views, drop, generator)
    assert known.shape == (batch, views) and known.dtype == torch.bool
    assert (~known).any(1).all()
    if drop == 0:
        assert known.any(1).all()
    if drop == 1:
        assert not known.any()


def partial_objects(rows: int, views: int, generator: torch.Generator) -> torch.Tensor:
    """bool [rows, views], two or more of each row."""
    present = torch.rand(rows, views, generator=generator) < 0.5
    first = torch.rand(rows, views, generator=generator).argsort(1) < 2
    return present | first


@given(views=st.integers(2, 62), batch=st.integers(1, 50), drop=st.floats(0, 1), seed=st.integers(0, 2**32))
def test_random_known_of_partial_objects(views, batch, drop, seed):
    generator = torch.Generator().manual_seed(seed)
    present = partial_objects(batch, views, generator)
    known = random_known(batch, views, drop, generator, present)
    assert not (known & ~present).any()
    assert (present & ~known).any(1).all()
    if drop == 0:
        assert known.any(1).all()


def test_complete_rows_draw_what_they_always_drew():
    def draw(present: torch.Tensor | None) -> torch.Tensor:
        return random_known(500, 5, 0.2, torch.Generator().manual_seed(3), present)

    codes = (draw(None) * torch.tensor([1, 2, 4, 8, 16])).sum(1)
    # Recorded: trainings that were begun with an earlier version go on with the same sets.
    assert codes[:12].tolist() == [17, 9, 8, 28, 11, 0, 1, 0, 2, 20, 5, 22]
    assert torch.equal(draw(torch.ones(500, 5, dtype=torch.bool)), draw(None))
    mixed = torch.ones(500, 5, dtype=torch.bool)
    mixed[::3, 1] = False
    complete = mixed.all(1)
    assert torch.equal(draw(mixed)[complete], draw(None)[complete])


def test_random_known_is_uniform_over_the_views_that_are_there():
    generator = torch.Generator().manual_seed(1)
    rows = 60_000
    present = torch.tensor([True, False, True, True]).expand(rows, 4)
    known = random_known(rows, 4, 0.2, generator, present)
    codes = (known * torch.tensor([1, 2, 4, 8])).sum(1)
    frequencies = torch.bincount(codes, minlength=16) / rows
    expected = torch.zeros(16)
    expected[[1, 4, 8, 5, 9, 12]] = 0.8 / 6
    expected[0] = 0.2
    assert ((frequencies - expected).abs() <= 5 * (expected / rows).sqrt()).all()


def test_random_known_is_uniform_over_proper_subsets():
    generator = torch.Generator().manual_seed(1)
    rows = 140_000
    known = random_known(rows, 4, 0.2, generator)
    codes = (known * torch.tensor([1, 2, 4, 8])).sum(1)
    frequencies = torch.bincount(codes, minlength=16) / rows
    assert frequencies[15] == 0
    expected = torch.full((14,), 0.8 / 14)
    spread = 5 * (expected[0] / rows) ** 0.5  # five standard deviations of a frequency
    assert abs(frequencies[0] - 0.2) < 5 * (0.16 / rows) ** 0.5
    assert ((frequencies[1:15] - expected).abs() < spread).all()
