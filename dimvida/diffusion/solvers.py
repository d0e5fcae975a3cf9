"""The solvers by name, each a set of rows of the one step formula: its source and its formula, its rows, its name."""

from __future__ import annotations

import itertools
import math

from torch import Tensor

from dimvida.diffusion.schedule import VPSchedule, sqrt_positive, time_grid
from dimvida.diffusion.step_table import Moments, Solver, StepRow, StepTable, grid_moments
from dimvida.errors import InputError, require_whole

VISITS = 2  # times that RePaint descends each interval
CONTRAST = 0.25  # how much repaint-mean adds to that of a data prediction; more costs PSNR and no longer helps colours


def euler_maruyama_rows(schedule: VPSchedule, times: Tensor, evaluations: int) -> list[StepRow]:
    """Euler-Maruyama on the reverse-time SDE (DiMViDA eq. 5).

    x <- x - dt (f x - g^2 s) + g sqrt(dt) z with f = -beta/2, g^2 = beta, s = out/sigma. Inserting
    out = (m x0 - x)/sigma gives the factors of x and x0 below. Noise enters the last step too, as in the public
    implementation.

    There is one row for each interval of the grid.
    """
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


def ddim_rows(schedule: VPSchedule, times: Tensor, evaluations: int) -> list[StepRow]:
    """DDIM, the exponential Euler method on the probability-flow ODE (Song, Meng, Ermon, 2021, eq. 12, eta = 0).

    x <- m' x0 + sigma' eps with eps = (x - m x0)/sigma.

    There is one row for each interval of the grid.
    """
    moments = grid_moments(schedule, times)
    rows = []
    for now, after in itertools.pairwise(moments):
        a = after.sigma / now.sigma
        rows.append(StepRow(now.t, now.sigma, now.m, a, after.m - a * now.m, 0.0, 0.0))
    return rows


DDIM = Solver("ddim", order=1, stochastic=False, spacing="time", rows=ddim_rows)


def _two_step_rows(schedule: VPSchedule, times: Tensor, stochastic: bool) -> list[StepRow]:
    """DPM-Solver++(2M) and its SDE form (Lu et al., "DPM-Solver++", 2022, algorithm 2 and section 5).

    With h the step in lambda = log(m/sigma) and r the last step over this one, both extrapolate the data
    prediction linearly in lambda, D = (1 + 1/(2r)) x0 - 1/(2r) x0_prev, then integrate exactly:

        ODE:  x <- (sigma'/sigma) x + m' (1 - e^-h) D
        SDE:  x <- (sigma'/sigma) e^-h x + m' (1 - e^-2h) D + sigma' sqrt(1 - e^-2h) z

    The first step has no history and the step to t = 0 is infinitely long in lambda: both are of first order.

    There is one row for each interval of the grid.
    """
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
    """DPM-Solver++(2M) for the probability-flow ODE, see ``_two_step_rows``."""
    return _two_step_rows(schedule, times, stochastic=False)


def sde_dpmpp_2m_rows(schedule: VPSchedule, times: Tensor, evaluations: int) -> list[StepRow]:
    """DPM-Solver++(2M) for the reverse SDE, see ``_two_step_rows``."""
    return _two_step_rows(schedule, times, stochastic=True)


DPMPP_2M = Solver("dpmpp-2m", order=2, stochastic=False, spacing="log-snr", rows=dpmpp_2m_rows)
SDE_DPMPP_2M = Solver("sde-dpmpp-2m", order=2, stochastic=True, spacing="log-snr", rows=sde_dpmpp_2m_rows)


def repaint_rows(schedule: VPSchedule, times: Tensor, evaluations: int) -> list[StepRow]:
    """RePaint's resampling (Lugmayr et al., 2022, algorithm 1): step down, noise back up, step down again.

    The descending step draws from the exact posterior of the forward process given x0 (Ho et al., 2020, eq. 6-7).
    Going back up is the forward SDE: with s before t, x_t = (m_t/m_s) x_s + sqrt(sigma_t^2 - (m_t/m_s)^2 sigma_s^2) z,
    a row without network evaluation. The known views need no noised copies here, as they do in RePaint: the
    multi-time network takes them clean.

    Each interval is descended about ``evaluations / intervals`` times, the earlier ones once more.
    """
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


def repaint_mean_rows(schedule: VPSchedule, times: Tensor, evaluations: int) -> list[StepRow]:
    """RePaint that goes to the mean of both visits' data predictions, with their contrast.

    Ours. The two predictions are made from the same state up to fresh noise, so their mean is nearer to the expected
    x0 at no evaluation more: 0.5 (x0 + x0_prev) in place of x0, the steps are those of ``repaint_rows``. The first
    interval is descended once: at t = 1 nothing of the object is in x yet, and a second prediction there would be the
    first. So is the second interval if evaluations are even.

    An expected x0 is paler than what it is the mean of, and after a wide step down the network takes the pale state for
    a paler object. So x0 is multiplied by 1 + CONTRAST sigma_s^2 v / sigma_t^2, with
    v = sigma_t^2 - (m_t/m_s sigma_s)^2 the variance that a step from t down to s resolves: 1 for the step to s = 0,
    1.16 for the middle one of three, and nearer to 1 the narrower the steps. (Compare epsilon scaling: Ning et al.,
    "Elucidating the Exposure Bias in Diffusion Models", ICLR 2024.)
    """
    moments = grid_moments(schedule, times)
    intervals = len(moments) - 1
    rows = []
    for index, (now, after) in enumerate(itertools.pairwise(moments)):
        first = _descend(now, after)
        resolved = first.b / after.m  # v / sigma_t^2
        first = first._replace(b=first.b * (1 + CONTRAST * resolved * after.sigma**2))
        rows.append(first)
        if index >= 2 * intervals - evaluations:
            rows += [_renoise(after, now), first._replace(b=first.b / 2, c=first.b / 2)]
    return rows


REPAINT_MEAN = Solver(
    "repaint-mean",
    order=1,
    stochastic=True,
    spacing="time",
    rows=repaint_mean_rows,
    intervals=lambda evaluations: evaluations // VISITS + 1 if evaluations > 1 else 1,
)


SOLVERS: dict[str, Solver] = {s.name: s for s in (EULER_MARUYAMA, DDIM, DPMPP_2M, SDE_DPMPP_2M, REPAINT, REPAINT_MEAN)}

STEPS_LIMIT = 10_000
"""Most network evaluations. Kernels read the coefficients in float32, where those of still shorter steps can hardly be
told from 1, and the table grows with them; the paper takes 250."""


def solver_named(name: str) -> Solver:
    """The solver of that public name.

    Raises:
        InputError: If there is none.
    """
    try:
        return SOLVERS[name]
    except (KeyError, TypeError):
        raise InputError(f"unknown solver {name!r}: choose from {', '.join(SOLVERS)}") from None


def step_table(name: str, steps: int, schedule: VPSchedule | None = None, spacing: str | None = None) -> StepTable:
    """The table of a whole trajectory from t = 1 to 0.

    Args:
        name: Name of a solver, one of ``SOLVERS``.
        steps: Network evaluations, from 1 to ``STEPS_LIMIT``. ``repaint`` and ``repaint-mean`` divide them among
            repeated visits of fewer intervals.
        schedule: Noise schedule, by default the paper's.
        spacing: ``time`` or ``log-snr``, by default the solver's own.

    Raises:
        InputError: For an unknown solver, or steps that are no whole number in their range.
    """
    solver = solver_named(name)
    steps = require_whole("steps", steps, 1, STEPS_LIMIT)
    schedule = schedule or VPSchedule()
    times = time_grid(schedule, solver.intervals(steps), spacing or solver.spacing)
    return StepTable(tuple(solver.rows(schedule, times, steps)))
