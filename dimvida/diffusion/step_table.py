"""Every solver as rows of one step formula.

For the missing views, with the data prediction x0 = (x + sigma out) / m, optionally clamped,

    x <- a x + b x0 + c x0_prev + d z,    z ~ N(0, I).

A solver is a function that turns a decreasing grid of times into such rows in float64.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from dimvida.diffusion.schedule import VPSchedule

TABLE_COLUMNS = 8
"""Of the float32 table that kernels read: sigma, m, a, b, c, d, and two unused that round a row up to 32 bytes."""


class StepRow(NamedTuple):
    """One step's coefficients.

    Attributes:
        t: Time at which the network is evaluated.
        sigma, m: Marginal standard deviation and mean factor at t.
        a, b, c, d: Factors of x, of x0, of the x0 that was predicted before and of the noise.
        evaluate: False for a row that only adds noise (b = c = 0), which needs no network evaluation.
    """

    t: float
    sigma: float
    m: float
    a: float
    b: float
    c: float
    d: float
    evaluate: bool = True


@dataclass(frozen=True, slots=True)
class Solver:
    """A numerical solver of the reverse-time SDE or of its probability-flow ODE.

    Attributes:
        name: What options and result files call it, such as ``ddim``.
        order: Global order of convergence: strong for an ODE solver, of the mean and variance for an SDE one.
        stochastic: Whether its steps draw noise.
        spacing: Default spacing of the time grid, see ``time_grid``.
        rows: Builds the rows for a decreasing float64 grid of times [n + 1].
        intervals: Intervals of the grid that give the asked number of network evaluations.
    """

    name: str
    order: int
    stochastic: bool
    spacing: str
    rows: Callable[[VPSchedule, Tensor, int], list[StepRow]]
    intervals: Callable[[int], int] = int


@dataclass(frozen=True, slots=True)
class StepTable:
    """The rows of one trajectory.

    Attributes:
        rows: One row for each step, in the order in which they are taken.
    """

    rows: tuple[StepRow, ...]

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def evaluations(self) -> int:
        """Number of network evaluations (NFE)."""
        return sum(row.evaluate for row in self.rows)

    def tensor(self, prediction: str = "noise") -> Tensor:
        """float32 [rows, 8] for the kernels: sigma, m, a, b, c, d, 0, 0.

        For a network that does not predict the noise, the first two are what stands in their place in the data
        prediction, see ``prediction_factors``.
        """
        unused = (0.0,) * (TABLE_COLUMNS - 6)
        rows = [(*prediction_factors(prediction, row.sigma, row.m), *row[3:7], *unused) for row in self.rows]
        return torch.tensor(rows, dtype=torch.float64, device="cpu").float()


class Moments(NamedTuple):
    """Marginal quantities at the two ends of a step, as Python floats."""

    t: float
    m: float
    sigma: float
    log_snr: float


def grid_moments(schedule: VPSchedule, times: Tensor) -> list[Moments]:
    """Mean factor, standard deviation and log signal-to-noise ratio at each time of a float64 grid."""
    columns = (times, schedule.mean(times), schedule.sigma(times), schedule.log_snr(times))
    return [Moments(*values) for values in zip(*(column.tolist() for column in columns), strict=True)]


def prediction_factors(prediction: str, sigma: float, m: float) -> tuple[float, float]:
    """The factors (s, n) with which x0 = (x + s out) / n, the form that the step formula has.

    ``noise``: minus the noise, as in the paper, so that x0 = (x + sigma out) / m. ``velocity``: v = m eps - sigma
    x0 (Salimans and Ho, "Progressive distillation", 2022, appendix D), so that x0 = m x - sigma out. A network that
    predicts the noise must carry all of x through its hidden layers, and near t = 1 its errors are divided by m =
    0.007 on the way to x0; one that predicts the velocity need not. That is what a network of small width can
    learn.

    Args:
        prediction: ``noise`` or ``velocity``.
        sigma: Marginal standard deviation at the time of the output, in [0, 1).
        m: Marginal mean factor, in (0, 1].

    Raises:
        ValueError: If ``prediction`` is neither.
    """
    if prediction == "noise":
        return sigma, m
    if prediction == "velocity":
        return -sigma / m, 1 / m
    raise ValueError(f"prediction {prediction!r}: choose noise or velocity")
