"""A velocity prediction is the noise prediction in other words."""

from __future__ import annotations

import pytest
import torch
from helpers.networks import noise_network, velocity_network

from dimvida.diffusion.loss import denoising_loss, diffuse_missing
from dimvida.diffusion.schedule import VPSchedule
from dimvida.diffusion.step_table import prediction_factors

SCHEDULE = VPSchedule()


@pytest.mark.parametrize("t", [0.01, 0.3, 0.7, 1.0])
def test_both_predict_the_same_data(t: float):
    x, tau = torch.randn(50, 2, 3), torch.full((50, 2), t)
    moments = SCHEDULE.sigma(tau)[0, 0].item(), SCHEDULE.mean(tau)[0, 0].item()
    predictions = []
    for prediction, network in (("noise", noise_network), ("velocity", velocity_network)):
        s, n = prediction_factors(prediction, *moments)
        predictions.append((x + s * network(x, tau)) / n)
    torch.testing.assert_close(*predictions, rtol=1e-4, atol=1e-4)


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


def test_others_are_refused():
    with pytest.raises(ValueError, match="choose noise or velocity"):
        prediction_factors("x0", 0.6, 0.8)
