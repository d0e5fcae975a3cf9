"""Every solver converges with the order it declares, on a Gaussian whose score is exact."""

from __future__ import annotations

import math

import pytest
import torch
from helpers.networks import MU, SCHEDULE, S, propagate
from torch import Tensor

from dimvida.diffusion.solvers import SOLVERS, step_table
from dimvida.diffusion.step_table import Solver
from dimvida.errors import InputError

T_END = 0.05  # away from 0, where the log signal-to-noise ratio is infinite


def marginal(t: float) -> tuple[float, float]:
    """Exact mean and variance at time t."""
    time = torch.tensor(t, dtype=torch.float64)
    m, sigma = float(SCHEDULE.mean(time)), float(SCHEDULE.sigma(time))
    return m * MU, (m * S) ** 2 + sigma**2


def grid(solver: Solver, evaluations: int) -> Tensor:
    steps = solver.intervals(evaluations)
    if solver.spacing == "time":
        return torch.linspace(1, T_END, steps + 1, dtype=torch.float64)
    ends = SCHEDULE.log_snr(torch.tensor([1, T_END], dtype=torch.float64)).tolist()
    return SCHEDULE.time_of_log_snr(torch.linspace(*ends, steps + 1, dtype=torch.float64))


def errors(solver: Solver, evaluations: int) -> tuple[float, float]:
    times = grid(solver, evaluations)
    mean, variance = propagate(solver.rows(SCHEDULE, times, evaluations), *marginal(1.0))
    exact_mean, exact_variance = marginal(float(times[-1]))
    return abs(mean - exact_mean), abs(variance - exact_variance)


@pytest.mark.parametrize("solver", SOLVERS.values(), ids=lambda solver: solver.name)
def test_declared_order_of_convergence(solver: Solver):
    coarse, fine = errors(solver, 640), errors(solver, 1280)
    observed = math.log2(coarse[1] / fine[1])
    assert observed == pytest.approx(solver.order, abs=0.06)
    # Solvers in the data prediction have no error in the mean here beyond rounding.
    assert fine[0] < 1e-13 or math.log2(coarse[0] / fine[0]) == pytest.approx(solver.order, abs=0.06)


@pytest.mark.parametrize("solver", [s for s in SOLVERS.values() if not s.stochastic], ids=lambda s: s.name)
def test_deterministic_solvers_follow_the_probability_flow(solver: Solver):
    # On a Gaussian the flow is known: it keeps the number of standard deviations from the mean.
    def end(evaluations: int) -> float:
        x, x0_prev = marginal(1.0)[0] + 1.3 * marginal(1.0)[1] ** 0.5, 0.0
        times = grid(solver, evaluations)
        for row in solver.rows(SCHEDULE, times, evaluations):
            exact = (row.m * S) ** 2 + row.sigma**2
            x0 = (x - row.sigma**2 * (x - row.m * MU) / exact) / row.m
            x, x0_prev = row.a * x + row.b * x0 + row.c * x0_prev, x0
        mean, variance = marginal(float(times[-1]))
        return abs(x - mean - 1.3 * variance**0.5)

    assert math.log2(end(640) / end(1280)) == pytest.approx(solver.order, abs=0.06)


@pytest.mark.parametrize("name", SOLVERS)
@pytest.mark.parametrize("steps", [1, 2, 3, 10, 25])
@pytest.mark.parametrize("spacing", ["time", "log-snr"])
def test_tables_are_finite_and_count_evaluations(name: str, steps: int, spacing: str):
    table = step_table(name, steps, spacing=spacing)
    assert table.evaluations == steps
    assert table.tensor().shape == (len(table), 8)
    assert table.tensor().isfinite().all()
    assert all(row.b == row.c == 0 for row in table.rows if not row.evaluate)
    assert (len(table) > steps) == (steps >= {"repaint": 2, "repaint-mean": 3}.get(name, math.inf))


@pytest.mark.parametrize("name", [name for name in SOLVERS if name != "euler-maruyama"])
def test_last_step_returns_the_data_prediction(name: str):
    last = step_table(name, 10).rows[-1]
    weights = (0.5, 0.5) if name == "repaint-mean" else (1, 0)
    assert (last.a, last.b, last.c, last.d) == pytest.approx((0, *weights, 0), abs=1e-15)


@pytest.mark.parametrize("name", SOLVERS)
def test_noise_free_rows_of_deterministic_solvers(name: str):
    drawn = [row.d > 0 for row in step_table(name, 10).rows]
    assert any(drawn) == SOLVERS[name].stochastic


def test_euler_maruyama_row_is_equation_5():
    row = step_table("euler-maruyama", 250).rows[100]
    t, dt = 1 - 100 / 250, 1 / 250
    beta = 0.1 + t * 19.9
    sigma = math.sqrt(1 - math.exp(-(t**2) * 19.9 / 2 - t * 0.1))
    x, out, z = 0.7, -1.1, 0.3
    expected = x - dt * (-beta / 2 * x - beta * out / sigma) + math.sqrt(beta * dt) * z
    x0 = (x + row.sigma * out) / row.m
    assert row.a * x + row.b * x0 + row.d * z == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("evaluations", "visits"), [(1, [1]), (2, [1, 1]), (4, [1, 1, 2]), (5, [1, 2, 2])])
def test_repaint_mean_visits_late_intervals_twice_with_contrast(evaluations: int, visits: list[int]):
    rows = step_table("repaint-mean", evaluations).rows
    times = [row.t for row in rows if row.evaluate]
    assert [times.count(1 - i / len(visits)) for i in range(len(visits))] == visits
    plain = {row.t: row for row in step_table("repaint", 2 * len(visits)).rows if row.evaluate}
    for before, row in zip((None, *rows), rows, strict=False):
        if row.evaluate:  # again after noise was added: the mean of both visits' x0 in place of the last one's
            after = torch.tensor(row.t - 1 / len(visits), dtype=torch.float64).clamp_min(0)
            m, sigma = float(SCHEDULE.mean(after)), float(SCHEDULE.sigma(after))
            contrast = 1 + 0.25 * (1 - (row.m * sigma) ** 2 / (m * row.sigma) ** 2) * sigma**2
            halves = 0.5 * contrast * plain[row.t].b
            again = before is not None and not before.evaluate
            assert (row.b, row.c) == pytest.approx((halves, halves) if again else (2 * halves, 0))
            assert (row.a, row.d) == (plain[row.t].a, plain[row.t].d)


@pytest.mark.parametrize("name", ["repaint", "repaint-mean"])
def test_repaint_renoises_back_to_where_it_was(name: str):
    rows = step_table(name, 10).rows
    for before, renoise, after in zip(rows, rows[1:], rows[2:], strict=False):
        if not renoise.evaluate:
            assert before.t == after.t > renoise.t
            variance = renoise.a**2 * renoise.sigma**2 + renoise.d**2
            assert variance == pytest.approx(after.sigma**2)
            assert renoise.a * renoise.m == pytest.approx(after.m)


def test_bad_requests():
    with pytest.raises(InputError, match="unknown solver 'heun': choose from euler-maruyama"):
        step_table("heun", 10)
    with pytest.raises(InputError, match="steps must be at least 1"):
        step_table("ddim", 0)
