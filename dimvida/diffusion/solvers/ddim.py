"""DDIM, the exponential Euler method on the probability-flow ODE (Song, Meng, Ermon, 2021, eq. 12, eta = 0).

x <- m' x0 + sigma' eps with eps = (x - m x0)/sigma.
"""

from __future__ import annotations

import itertools

from torch import Tensor

from dimvida.diffusion.schedule import VPSchedule
from dimvida.diffusion.step_table import Solver, StepRow, grid_moments


def ddim_rows(schedule: VPSchedule, times: Tensor, evaluations: int) -> list[StepRow]:
    """One row per interval of the grid."""
    moments = grid_moments(schedule, times)
    rows = []
    for now, after in itertools.pairwise(moments):
        a = after.sigma / now.sigma
        rows.append(StepRow(now.t, now.sigma, now.m, a, after.m - a * now.m, 0.0, 0.0))
    return rows


DDIM = Solver("ddim", order=1, stochastic=False, spacing="time", rows=ddim_rows)
