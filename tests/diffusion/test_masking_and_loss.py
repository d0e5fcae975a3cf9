"""Masks and the loss of eq. 6 against hand-computed cases."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dimvida.diffusion.loss import denoising_loss, diffuse_missing, training_times
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


def test_only_missing_views_diffuse():
    latents, noise = torch.randn(2, 3, 4), torch.randn(2, 3, 4)
    known = torch.tensor([[True, False, True], [False, False, False]])
    t = torch.tensor([0.3, 0.9])
    x = diffuse_missing(latents, known, t, noise, SCHEDULE)
    assert torch.equal(x[known], latents[known])
    m, sigma = SCHEDULE.mean(t), SCHEDULE.sigma(t)
    torch.testing.assert_close(x[0, 1], m[0] * latents[0, 1] + sigma[0] * noise[0, 1])
    torch.testing.assert_close(x[1], m[1] * latents[1] + sigma[1] * noise[1])


def test_loss_by_hand():
    # Two views of one number each. Row 0 misses one view: lambda = 2; row 1 misses both: lambda = 1.
    latents = torch.zeros(2, 2, 1)
    known = torch.tensor([[True, False], [False, False]])
    noise = torch.tensor([[[9.0], [2.0]], [[1.0], [3.0]]])
    out = torch.tensor([[[7.0], [1.0]], [[0.0], [-3.0]]])
    loss = denoising_loss(lambda x, tau: out, latents, known, torch.tensor([0.5, 0.5]), noise, SCHEDULE)
    row0 = 2 * (1 + 2) ** 2
    row1 = 1 * ((0 + 1) ** 2 + (-3 + 3) ** 2)
    assert float(loss) == pytest.approx((row0 + row1) / 2 / 2)


def test_untrained_network_starts_at_one():
    noise = torch.randn(2000, 4, 8, generator=torch.Generator().manual_seed(0))
    known = random_known(2000, 4, 0.2, torch.Generator().manual_seed(0))
    t = training_times(2000, SCHEDULE, "uniform", torch.Generator().manual_seed(0))
    loss = denoising_loss(lambda x, tau: torch.zeros_like(x), noise, known, t, noise, SCHEDULE)
    assert float(loss) == pytest.approx(1, abs=0.03)


def test_training_times():
    assert training_times(5, SCHEDULE, "importance").shape == (5,)
    with pytest.raises(ValueError, match="uniform or importance"):
        training_times(5, SCHEDULE, "cosine")
