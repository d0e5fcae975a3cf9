"""The variance-preserving noise schedule, in float64.

dx = f(t) x dt + g(t) dw with beta(t) = beta0 + t (beta1 - beta0), f = -beta/2, g = sqrt(beta), T = 1
(Song et al., "Score-based generative modeling through SDEs", 2021, eq. 11; DiMViDA eq. 4).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

EARLIEST = 1e-3
"""The time before 0 down to which times are drawn or spaced by what grows without bound at 0."""


@dataclass(frozen=True, slots=True)
class VPSchedule:
    """Marginals x_t = m(t) x_0 + sigma(t) eps of the linear variance-preserving SDE on t in [0, 1].

    Every method takes a tensor of times of any shape and returns the same shape and dtype; tables are made
    from float64 times.

    Attributes:
        beta0: Noise rate at t = 0, above 0.
        beta1: Noise rate at t = 1, above ``beta0``.

    Raises:
        ValueError: Unless 0 < beta0 < beta1.
    """

    beta0: float = 0.1
    beta1: float = 20.0

    def __post_init__(self) -> None:
        if not 0 < self.beta0 < self.beta1:
            raise ValueError(f"a schedule needs 0 < beta0 < beta1, not beta0={self.beta0}, beta1={self.beta1}")

    def beta(self, t: Tensor) -> Tensor:
        """Noise rate beta(t) = g(t)^2."""
        return self.beta0 + t * (self.beta1 - self.beta0)

    def integrated_beta(self, t: Tensor) -> Tensor:
        """Integral of beta over [0, t]; equals -2 log m(t)."""
        return t * self.beta0 + t.square() * ((self.beta1 - self.beta0) / 2)

    def mean(self, t: Tensor) -> Tensor:
        """Mean factor m(t), from 1 at t = 0 down to 0.0066 at t = 1 for the default rates."""
        return torch.exp(-0.5 * self.integrated_beta(t))

    def sigma(self, t: Tensor) -> Tensor:
        """Standard deviation sigma(t) = sqrt(1 - m(t)^2), without cancellation near t = 0."""
        return torch.sqrt(-torch.expm1(-self.integrated_beta(t)))

    def log_snr(self, t: Tensor) -> Tensor:
        """Half the log signal-to-noise ratio, lambda(t) = log(m / sigma); infinite at t = 0."""
        return -0.5 * torch.log(torch.expm1(self.integrated_beta(t)))

    def time_of_log_snr(self, log_snr: Tensor) -> Tensor:
        """Inverse of ``log_snr``."""
        return self._time_of_integral(torch.nn.functional.softplus(-2 * log_snr))

    def importance_times(self, u: Tensor) -> Tensor:
        """Map u in [0, 1) to times with density proportional to g^2 / sigma^2, constant below ``EARLIEST``.

        With y the integral of beta, g^2 / sigma^2 dt = dy / (1 - e^-y), whose integral is log(e^y - 1): the
        distribution function and its inverse are closed forms. (Song, Durkan, Murray, Ermon, "Maximum
        likelihood training of score-based diffusion models", 2021, section 4.)
        """
        ends = torch.tensor([EARLIEST, 1.0], dtype=torch.float64, device="cpu")
        low, high = torch.log(torch.expm1(self.integrated_beta(ends))).tolist()
        floor_density = float(self.beta(ends[0]) / self.sigma(ends[0]).square())
        below = EARLIEST * floor_density  # mass of the constant part, beside (high - low) above it
        mass = u.double() * (below + high - low)
        y = torch.nn.functional.softplus((mass - below).clamp_min(0) + low)
        times = torch.where(mass < below, mass / floor_density, self._time_of_integral(y))
        return times.to(u.dtype)

    def _time_of_integral(self, y: Tensor) -> Tensor:
        # Positive root of (beta1 - beta0)/2 t^2 + beta0 t = y, in the form that does not cancel for small y.
        slope = self.beta1 - self.beta0
        return 2 * y / (self.beta0 + torch.sqrt(self.beta0**2 + 2 * slope * y))


def time_grid(schedule: VPSchedule, steps: int, spacing: str = "time") -> Tensor:
    """Decreasing times from 1 to 0 for ``steps`` steps.

    Args:
        schedule: Gives the log signal-to-noise ratio.
        steps: Number of intervals, at least 1.
        spacing: ``time``: uniform in t. ``log-snr``: uniform in lambda down to ``EARLIEST``, then 0.

    Returns:
        float64 [steps + 1].

    Raises:
        ValueError: If ``steps`` or ``spacing`` is not one of the above.
    """
    if steps < 1:
        raise ValueError(f"steps must be at least 1, not {steps}")
    if spacing == "time":
        return 1 - torch.arange(steps + 1, dtype=torch.float64, device="cpu") / steps
    if spacing != "log-snr":
        raise ValueError(f"spacing {spacing!r}: choose time or log-snr")
    ends = schedule.log_snr(torch.tensor([1.0, EARLIEST], dtype=torch.float64, device="cpu")).tolist()
    times = schedule.time_of_log_snr(torch.linspace(*ends, steps, dtype=torch.float64, device="cpu"))
    times[0] = 1.0
    return torch.cat([times, times.new_zeros(1)])


def sqrt_positive(value: float) -> float:
    """Square root of a variance that rounding may have made slightly negative."""
    return math.sqrt(max(value, 0.0))
