"""A Gaussian whose score is exact: the known answer that solvers and samplers are tested on.

For data N(MU, S^2) the marginals are Gaussian and the exact score is affine in x. The rows of a solver then map
the mean and variance of the state by a linear recursion, computed here in float64 without sampling.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from dimvida.diffusion.schedule import VPSchedule
from dimvida.diffusion.step_table import StepRow

SCHEDULE = VPSchedule()
MU, S = 0.8, 0.5


def marginal(t: float) -> tuple[float, float]:
    """Exact mean and variance at time t."""
    time = torch.tensor(t, dtype=torch.float64)
    m, sigma = float(SCHEDULE.mean(time)), float(SCHEDULE.sigma(time))
    return m * MU, (m * S) ** 2 + sigma**2


def network(x: Tensor, tau: Tensor) -> Tensor:
    """Minus the best noise prediction for independent entries N(MU, S^2) at each row's diffusion time."""
    t = tau.max(1, keepdim=True).values.double()[..., None]
    m, sigma = SCHEDULE.mean(t), SCHEDULE.sigma(t)
    return (-sigma * (x - m * MU) / ((m * S) ** 2 + sigma**2)).float()


def propagate(rows: Iterable[StepRow], mean: float, variance: float) -> tuple[float, float]:
    """Mean and variance of x after the rows, with the exact score."""
    mu, covariance = np.array([mean, 0.0]), np.diag([variance, 0.0])  # of (x, x0_prev)
    for row in rows:
        if row.evaluate:
            # out = sigma * score, hence x0 = gain * x + offset.
            exact = (row.m * S) ** 2 + row.sigma**2
            gain, offset = (1 - row.sigma**2 / exact) / row.m, row.sigma**2 * MU / exact
            matrix = np.array([[row.a + row.b * gain, row.c], [gain, 0.0]])
            shift = np.array([row.b * offset, offset])
        else:
            matrix, shift = np.diag([row.a, 1.0]), np.zeros(2)
        mu = matrix @ mu + shift
        covariance = matrix @ covariance @ matrix.T
        covariance[0, 0] += row.d**2
    return float(mu[0]), float(covariance[0, 0])


def velocity_network(x: Tensor, tau: Tensor) -> Tensor:
    """The exact velocity v = m eps - sigma x0 of the same Gaussian."""
    m, sigma = SCHEDULE.mean(tau)[..., None], SCHEDULE.sigma(tau)[..., None]
    eps = -network(x, tau)
    return m * eps - sigma * (x - sigma * eps) / m
