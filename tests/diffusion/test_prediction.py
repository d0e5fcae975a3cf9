"""A velocity prediction is the noise prediction in other words."""

from __future__ import annotations

import gaussian
import pytest
import torch

from dimvida.diffusion.loss import denoising_loss, diffuse_missing
from dimvida.diffusion.prediction import noise_prediction
from dimvida.diffusion.schedule import VPSchedule

SCHEDULE = VPSchedule()


def gaussian_velocity(x: torch.Tensor, tau: torch.Tensor) -> torch.Tensor:
    """v = m eps - sigma x0 of the exact noise prediction."""
    m, sigma = SCHEDULE.mean(tau)[..., None], SCHEDULE.sigma(tau)[..., None]
    eps = -gaussian.network(x, tau)
    return m * eps - sigma * (x - sigma * eps) / m


@pytest.mark.parametrize("t", [0.01, 0.3, 0.7])
def test_velocity_gives_the_same_noise(t: float):
    x, tau = torch.randn(50, 2, 3), torch.full((50, 2), t)
    network = noise_prediction(gaussian_velocity, "velocity", SCHEDULE)
    torch.testing.assert_close(network(x, tau), gaussian.network(x, tau), rtol=1e-4, atol=1e-4)


def test_velocity_target():
    # The perfect velocity network for one known pair (x0, eps) has no loss, any other has its squared distance.
    x0, eps, t = torch.randn(4, 2, 3), torch.randn(4, 2, 3), torch.rand(4)
    known = torch.zeros(4, 2, dtype=torch.bool)
    m, sigma = SCHEDULE.mean(t)[:, None, None], SCHEDULE.sigma(t)[:, None, None]
    velocity = m * eps - sigma * x0
    for offset in (0.0, 0.5):
        loss = denoising_loss(lambda x, tau, o=offset: velocity + o, x0, known, t, eps, SCHEDULE, "velocity")
        assert float(loss) == pytest.approx(offset**2, abs=1e-6)
    x = diffuse_missing(x0, known, t, eps, SCHEDULE)
    torch.testing.assert_close(m * x - sigma * velocity, x0, rtol=1e-4, atol=1e-4)


def test_noise_is_passed_through_and_others_are_refused():
    assert noise_prediction(gaussian.network, "noise", SCHEDULE) is gaussian.network
    with pytest.raises(ValueError, match="choose noise or velocity"):
        noise_prediction(gaussian.network, "x0", SCHEDULE)
