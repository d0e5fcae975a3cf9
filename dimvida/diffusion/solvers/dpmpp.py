"""DPM-Solver++(2M) and its SDE form (Lu et al., "DPM-Solver++", 2022, algorithm 2 and section 5).

With h the step in lambda = log(m/sigma) and r the last step over this one, both extrapolate the data
prediction linearly in lambda, D = (1 + 1/(2r)) x0 - 1/(2r) x0_prev, then integrate exactly:

    ODE:  x <- (sigma'/sigma) x + m' (1 - e^-h) D
    SDE:  x <- (sigma'/sigma) e^-h x + m' (1 - e^-2h) D + sigma' sqrt(1 - e^-2h) z

The first step has no history and the step to t = 0 is infinitely long in lambda: both are of first order.
"""

from __future__ import annotations

import itertools
import math

from torch import Tensor

from dimvida.diffusion.schedule import VPSchedule, sqrt_positive
from dimvida.diffusion.step_table import Solver, StepRow, grid_moments


def _two_step_rows(schedule: VPSchedule, times: Tensor, stochastic: bool) -> list[StepRow]:
    moments = grid_moments(schedule, times)
    rate = 2 if stochastic else 1  # exponent of the decay towards the data prediction
    rows, last_h = [], math.inf
    for now, after in itertools.pairwise(moments):
        h = after.log_snr - now.log_snr
        extrapolate = h / (2 * last_h) if math.isfinite(h) else 0.0  # 1 / (2r)
        gain = after.m * -math.expm1(-rate * h)
        a, d = after.sigma / now.sigma, 0.0
        if stochastic:
            a *= math.exp(-h)
            d = after.sigma * sqrt_positive(-math.expm1(-2 * h))
        b, c = gain * (1 + extrapolate), -gain * extrapolate
        rows.append(StepRow(now.t, now.sigma, now.m, a, b, c, d))
        last_h = h
    return rows


def dpmpp_2m_rows(schedule: VPSchedule, times: Tensor, evaluations: int) -> list[StepRow]:
    """One deterministic row per interval of the grid."""
    return _two_step_rows(schedule, times, stochastic=False)


def sde_dpmpp_2m_rows(schedule: VPSchedule, times: Tensor, evaluations: int) -> list[StepRow]:
    """One stochastic row per interval of the grid."""
    return _two_step_rows(schedule, times, stochastic=True)


DPMPP_2M = Solver("dpmpp-2m", order=2, stochastic=False, spacing="log-snr", rows=dpmpp_2m_rows)
SDE_DPMPP_2M = Solver("sde-dpmpp-2m", order=2, stochastic=True, spacing="log-snr", rows=sde_dpmpp_2m_rows)
