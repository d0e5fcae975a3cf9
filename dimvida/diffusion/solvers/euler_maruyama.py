"""Euler-Maruyama on the reverse-time SDE (DiMViDA eq. 5).

x <- x - dt (f x - g^2 s) + g sqrt(dt) z with f = -beta/2, g^2 = beta, s = out/sigma. Inserting
out = (m x0 - x)/sigma gives the factors of x and x0 below. Noise enters the last step too, as in the public
implementation.
"""

from __future__ import annotations

import math

from torch import Tensor

from dimvida.diffusion.schedule import VPSchedule
from dimvida.diffusion.step_table import Solver, StepRow, grid_moments


def euler_maruyama_rows(schedule: VPSchedule, times: Tensor, evaluations: int) -> list[StepRow]:
    """One row per interval of the grid."""
    moments = grid_moments(schedule, times)
    betas = schedule.beta(times).tolist()
    rows = []
    for now, after, beta in zip(moments, moments[1:], betas, strict=False):
        dt = now.t - after.t
        pull = dt * beta / now.sigma**2
        a = 1 + dt * beta / 2 - pull
        rows.append(StepRow(now.t, now.sigma, now.m, a, pull * now.m, 0.0, math.sqrt(beta * dt)))
    return rows


EULER_MARUYAMA = Solver("euler-maruyama", order=1, stochastic=True, spacing="time", rows=euler_maruyama_rows)
