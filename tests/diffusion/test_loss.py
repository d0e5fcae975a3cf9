"""The loss of eq. 6 against hand-computed cases; a velocity prediction is the noise prediction in other words."""

from __future__ import annotations

import pytest
import torch
from helpers.networks import noise_network, velocity_network

from dimvida.diffusion.loss import clamped_weights, denoising_loss, diffuse_missing, training_times
from dimvida.diffusion.masking import random_known
from dimvida.diffusion.schedule import VPSchedule
from dimvida.diffusion.step_table import prediction_factors

SCHEDULE = VPSchedule()


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


def test_absent_views_are_noise_to_the_network_and_count_for_nothing():
    # Three views of one number. Row 0 has two of them and misses one: lambda = 2, over |C or M| = 2 views.
    # Row 1 has all: lambda = 1.5, over 3.
    known = torch.tensor([[True, False, False], [True, False, False]])
    present = torch.tensor([[True, True, False], [True, True, True]])
    latents = torch.tensor([[[5.0], [1.0], [1e6]], [[5.0], [1.0], [2.0]]])
    noise = torch.tensor([[[9.0], [2.0], [4.0]], [[9.0], [2.0], [4.0]]])
    out = torch.tensor([[[7.0], [1.0], [1e9]], [[7.0], [1.0], [-1.0]]])
    t = torch.tensor([0.5, 0.5])
    seen = []

    def network(x: torch.Tensor, tau: torch.Tensor) -> torch.Tensor:
        seen.append((x, tau))
        return out

    loss = denoising_loss(network, latents, known, t, noise, SCHEDULE, present=present)
    row0 = 2 * (1 + 2) ** 2 / 2
    row1 = 1.5 * ((1 + 2) ** 2 + (-1 + 4) ** 2) / 3
    assert float(loss) == pytest.approx((row0 + row1) / 2)
    ((x, tau),) = seen
    assert x[0, 2] == 4 and x[0, 0] == 5
    assert tau.tolist() == [[0, 0.5, 0.5], [0, 0.5, 0.5]]


@pytest.mark.parametrize("prediction", ["noise", "velocity"])
def test_complete_objects_have_the_same_loss_to_the_last_bit(prediction: str):
    generator = torch.Generator().manual_seed(0)
    latents, noise, out = (torch.randn(50, 3, 7, generator=generator) for _ in range(3))
    known = random_known(50, 3, 0.2, generator)
    t = training_times(50, SCHEDULE, "uniform", generator)
    arguments = (lambda x, tau: out + x * tau[..., None], latents, known, t, noise, SCHEDULE, prediction)
    loss = denoising_loss(*arguments)
    assert torch.equal(denoising_loss(*arguments, present=torch.ones(50, 3, dtype=torch.bool)), loss)


def test_untrained_network_starts_at_one_with_absent_views_too():
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(2000, 5, 8, generator=generator)
    present = torch.rand(2000, 5, generator=generator) < 0.5
    present |= torch.rand(2000, 5, generator=generator).argsort(1) < 2  # two or more of each
    known = random_known(2000, 5, 0.2, generator, present)
    t = training_times(2000, SCHEDULE, "uniform", generator)
    loss = denoising_loss(lambda x, tau: torch.zeros_like(x), noise, known, t, noise, SCHEDULE, present=present)
    assert float(loss) == pytest.approx(1, abs=0.03)


def test_untrained_network_starts_at_one():
    noise = torch.randn(2000, 4, 8, generator=torch.Generator().manual_seed(0))
    known = random_known(2000, 4, 0.2, torch.Generator().manual_seed(0))
    t = training_times(2000, SCHEDULE, "uniform", torch.Generator().manual_seed(0))
    loss = denoising_loss(lambda x, tau: torch.zeros_like(x), noise, known, t, noise, SCHEDULE)
    assert float(loss) == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("prediction", ["velocity", "noise"])
def test_clamped_weights_bound_what_an_error_in_clean_latents_weighs(prediction: str):
    t = torch.linspace(0, 1, 101)
    weights = clamped_weights(t, SCHEDULE, prediction)
    m, sigma = SCHEDULE.mean(t), SCHEDULE.sigma(t)
    of_error = 1 / sigma**2 if prediction == "velocity" else (m / sigma) ** 2  # of the unweighted loss
    expected = of_error.clamp_max(5)
    torch.testing.assert_close((weights * of_error)[1:], expected[1:])
    assert float(weights[0]) == 0 and float(weights[-1]) == 1 and 10 < int((weights < 1).sum()) < 50


def test_a_clamped_loss_is_each_row_s_times_its_weight():
    latents, noise, t = torch.randn(6, 3, 4), torch.randn(6, 3, 4), torch.linspace(0.02, 0.9, 6)
    known = torch.tensor([[True, False, False]]).expand(6, 3)

    def loss(rows: slice, time_weight: str) -> float:
        arguments = latents[rows], known[rows], t[rows], noise[rows], SCHEDULE, "velocity"
        return float(denoising_loss(lambda x, tau: 0 * x, *arguments, time_weight=time_weight))

    weights = clamped_weights(t, SCHEDULE, "velocity").tolist()
    rows = [weight * loss(slice(row, row + 1), "none") for row, weight in enumerate(weights)]
    assert loss(slice(0, 6), "clamped") == pytest.approx(sum(rows) / 6, rel=1e-5)
    assert weights[0] < 0.1 and weights[-1] == 1


def test_training_times():
    assert training_times(5, SCHEDULE, "importance").shape == (5,)
    with pytest.raises(ValueError, match="uniform or importance"):
        training_times(5, SCHEDULE, "cosine")


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
