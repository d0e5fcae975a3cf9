"""The one registry of metrics: what each is called, which direction is better, and how its numbers are written.

A new metric needs an entry in ``METRICS`` here and a function in ``dimvida.evaluation``; commands, tables,
charts and reports take its heading, unit and format from here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

DASH = "–"  # where there is no number
MINUS = "−"


@dataclass(frozen=True, slots=True)
class Metric:
    """How a metric is shown.

    Attributes:
        name: In options and result files, such as ``psnr``.
        title: What people call it, such as ``PSNR``.
        digits: Decimals that are shown.
        better: Which direction is better; None where that is not known.
        unit: Unit of its numbers as they are shown, such as ``dB``; "" without one.
        factor: What a number in a result file is multiplied by to be shown: 100 for a share in percent.
        abbreviation: For narrow columns and charts, where ``title`` is too long for them.
        of_pictures: Has a value for each picture beside the true one; tables have these beside each other.
        counts_equal: Infinite for equal pictures, which are counted and stay out of means.
        is_root: What is written is the root of the mean of what is measured.
    """

    name: str
    title: str
    digits: int
    better: Literal["higher", "lower"] | None = None
    unit: str = ""
    factor: float = 1.0
    abbreviation: str = ""
    of_pictures: bool = False
    counts_equal: bool = False
    is_root: bool = False

    @property
    def short(self) -> str:
        """The abbreviation, or the title where that is short enough."""
        return self.abbreviation or self.title

    @property
    def heading(self) -> str:
        """The title with the unit, as ``PSNR, dB``."""
        return ", ".join(filter(None, (self.title, self.unit)))

    @property
    def short_heading(self) -> str:
        """The abbreviation, or title, with the unit, for a narrow column or an axis."""
        return ", ".join(filter(None, (self.short, self.unit)))

    @property
    def arrow(self) -> str:
        """``↑`` where higher is better, ``↓`` where lower is, "" where it is not known."""
        return {"higher": "↑", "lower": "↓", None: ""}[self.better]

    @property
    def direction(self) -> str:
        """``higher is better`` or ``lower is better``, "" where it is not known."""
        return f"{self.better} is better" if self.better else ""

    def number(self, value: float) -> str:
        """A value of a result file as it is shown, without its unit."""
        return number(value * self.factor, self.digits)

    def quantity(self, value: float) -> str:
        """A value of a result file as it is shown, with its unit, as ``24.03 dB``."""
        return " ".join(filter(None, (self.number(value), self.unit)))


_COLOUR = "error of the mean colour"
_FEATURES = "Fréchet distance of the classifier's features (not FID)"

METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("psnr", "PSNR", 2, "higher", unit="dB", of_pictures=True, counts_equal=True),
        Metric("ssim", "SSIM", 3, "higher", of_pictures=True),
        Metric("lpips", "LPIPS", 3, "lower", of_pictures=True),
        Metric("colour", _COLOUR, 1, "lower", "levels", 255.0, abbreviation="colour", of_pictures=True, is_root=True),
        Metric("fid", "FID", 2, "lower"),
        Metric("coherence", "coherence", 1, "higher", unit="%", factor=100.0),
        Metric("feature_frechet", _FEATURES, 3, "lower", abbreviation="feature_frechet"),
    )
}
"""What ``dimvida evaluate`` measures, in the order in which it is written."""

ACCURACY = Metric("accuracy", "accuracy", 1, "higher", unit="%", factor=100.0)
LATENT_FRECHET = Metric("latent_frechet", "latent Fréchet distance", 2, "lower", abbreviation="LFD")


def metric(name: str) -> Metric:
    """How to show a metric; one that is not in the registry has its name as title, and no direction."""
    return METRICS.get(name) or Metric(name, name, 3)


def in_order(names: Iterable[str]) -> list[str]:
    """Each name once: the registry's metrics in its order, then others in the order given."""
    names = list(dict.fromkeys(names))
    return [name for name in METRICS if name in names] + [name for name in names if name not in METRICS]


def number(value: float, digits: int) -> str:
    """A number with so many decimals and a real minus."""
    return f"{value:.{digits}f}".replace("-", MINUS)


def significant(value: float) -> str:
    """A positive number with three significant digits and no exponent: times, rates and sizes."""
    return f"{value:.{0 if value >= 100 else 1 if value >= 10 else 2 if value >= 1 else 3}f}"


def percent(share: float, digits: int = 1) -> str:
    """A share of 1 in percent, as ``12.5 %``."""
    return f"{number(100 * share, digits)} %"


def points(difference: float) -> str:
    """A difference of two shares in percentage points, with its sign."""
    return f"{100 * difference:+.1f}".replace("-", MINUS)


def p_value(p: float | None) -> str:
    """The probability that a test gives, as exact as it is of use."""
    if p is None:
        return DASH
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def p_statement(p: float) -> str:
    """A p value in a sentence: ``p = 0.012`` or ``p < 0.001``."""
    return f"p {p_value(p)}" if p < 0.001 else f"p = {p_value(p)}"
