"""The schedule against its own definition, integrated numerically."""

from __future__ import annotations

import pytest
import torch

from dimvida.diffusion.schedule import VPSchedule, time_grid

SCHEDULE = VPSchedule()
TIMES = torch.linspace(1e-6, 1, 1001, dtype=torch.float64)


def test_integrated_beta_is_the_integral():
    numeric = torch.cumulative_trapezoid(SCHEDULE.beta(TIMES), TIMES)
    exact = SCHEDULE.integrated_beta(TIMES)
    torch.testing.assert_close(exact[1:] - exact[0], numeric, rtol=1e-9, atol=1e-12)


def test_variance_is_preserved():
    total = SCHEDULE.mean(TIMES).square() + SCHEDULE.sigma(TIMES).square()
    torch.testing.assert_close(total, torch.ones_like(total), rtol=0, atol=1e-14)


def test_log_snr_and_its_inverse():
    expected = torch.log(SCHEDULE.mean(TIMES) / SCHEDULE.sigma(TIMES))
    torch.testing.assert_close(SCHEDULE.log_snr(TIMES), expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(SCHEDULE.time_of_log_snr(SCHEDULE.log_snr(TIMES)), TIMES, rtol=1e-9, atol=1e-12)


def test_importance_times_follow_their_density():
    u = (torch.arange(200_000, dtype=torch.float64) + 0.5) / 200_000
    times = SCHEDULE.importance_times(u)
    assert times.min() >= 0 and times.max() <= 1
    edges = torch.tensor([0, 5e-4, 1e-3, 3e-3, 0.01, 0.1, 0.5, 1.0], dtype=torch.float64)
    counts = torch.histogram(times, edges).hist / len(u)

    def density(t):
        t = t.clamp_min(1e-3)
        return SCHEDULE.beta(t) / SCHEDULE.sigma(t).square()

    masses = []
    for low, high in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        grid = torch.linspace(low, high, 20_001, dtype=torch.float64)
        masses.append(torch.trapezoid(density(grid), grid))
    masses = torch.stack(masses)
    torch.testing.assert_close(counts, masses / masses.sum(), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("spacing", ["time", "log-snr"])
@pytest.mark.parametrize("steps", [1, 2, 7, 250])
def test_grids_decrease_from_one_to_zero(spacing, steps):
    times = time_grid(SCHEDULE, steps, spacing)
    assert len(times) == steps + 1
    assert times[0] == 1 and times[-1] == 0
    assert (times.diff() < 0).all()


def test_time_grid_is_that_of_the_paper():
    times = time_grid(SCHEDULE, 250)
    torch.testing.assert_close(times, 1 - torch.arange(251, dtype=torch.float64) / 250)


def test_log_snr_grid_is_uniform_in_log_snr():
    gaps = SCHEDULE.log_snr(time_grid(SCHEDULE, 20, "log-snr")[:-1]).diff()
    torch.testing.assert_close(gaps, gaps[:1].expand_as(gaps), rtol=1e-9, atol=0)


def test_impossible_values():
    with pytest.raises(ValueError, match="beta0 < beta1"):
        VPSchedule(1.0, 0.5)
    with pytest.raises(ValueError, match="at least 1"):
        time_grid(SCHEDULE, 0)
    with pytest.raises(ValueError, match="spacing"):
        time_grid(SCHEDULE, 3, "cosine")
