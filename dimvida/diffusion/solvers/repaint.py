"""RePaint's resampling (Lugmayr et al., 2022, algorithm 1): step down, noise back up, step down again.

The descending step draws from the exact posterior of the forward process given x0 (Ho et al., 2020, eq. 6-7).
Going back up is the forward SDE: with s before t, x_t = (m_t/m_s) x_s + sqrt(sigma_t^2 - (m_t/m_s)^2 sigma_s^2) z,
a row without network evaluation. The known views need no noised copies here, as they do in RePaint: the
multi-time network takes them clean.
"""

from __future__ import annotations

import itertools

from torch import Tensor

from dimvida.diffusion.schedule import VPSchedule, sqrt_positive
from dimvida.diffusion.step_table import Moments, Solver, StepRow, grid_moments

VISITS = 2  # times that each interval is descended


def repaint_rows(schedule: VPSchedule, times: Tensor, evaluations: int) -> list[StepRow]:
    """Descend each interval about ``evaluations / intervals`` times, the earlier intervals once more."""
    moments = grid_moments(schedule, times)
    intervals = len(moments) - 1
    rows = []
    for index, (now, after) in enumerate(itertools.pairwise(moments)):
        visits = evaluations // intervals + (index < evaluations % intervals)
        for visit in range(visits):
            if visit:
                rows.append(_renoise(after, now))
            rows.append(_descend(now, after))
    return rows


def _descend(now: Moments, after: Moments) -> StepRow:
    ratio = now.m / after.m
    variance = now.sigma**2 - ratio**2 * after.sigma**2  # of the forward step from after to now
    a = ratio * after.sigma**2 / now.sigma**2
    b = after.m * variance / now.sigma**2
    d = after.sigma * sqrt_positive(variance) / now.sigma
    return StepRow(now.t, now.sigma, now.m, a, b, 0.0, d)


def _renoise(low: Moments, high: Moments) -> StepRow:
    ratio = high.m / low.m
    d = sqrt_positive(high.sigma**2 - ratio**2 * low.sigma**2)
    return StepRow(low.t, low.sigma, low.m, ratio, 0.0, 0.0, d, evaluate=False)


REPAINT = Solver(
    "repaint",
    order=1,
    stochastic=True,
    spacing="time",
    rows=repaint_rows,
    intervals=lambda evaluations: -(-evaluations // VISITS),
)
