"""Means with 95 % intervals, where the objects are what is independent.

Pictures of one object share its shape, its colours and its noise, so an interval counts objects, not pictures. Two
methods, both with quantiles of Student's t:

- means: the standard error of a ratio of sums over objects (Cochran, Sampling Techniques, 1977, section 2.11);
- anything else that is a number for a set of objects: the grouped jackknife (Wolter, Introduction to Variance
  Estimation, 2007, chapter 4).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from scipy.stats import t as student
from torch import Tensor

from dimvida.results.schema import Estimate

LEVEL = 0.95


class Tally:
    """Sums of one metric by object and by view, from which every mean of it follows; no picture's value is kept.

    Args:
        objects: N.
        views: V.
        count_equal: Infinite values mean equal pictures and are counted as such (PSNR).
        root: Values are squares, and what is estimated is the root of their mean.
    """

    def __init__(self, objects: int, views: int, *, count_equal: bool = False, root: bool = False) -> None:
        self._root = root
        self._sums = torch.zeros(objects, views, dtype=torch.float64)
        self._counts = torch.zeros(objects, views, dtype=torch.int64)
        self._equal = torch.zeros(objects, views, dtype=torch.int64) if count_equal else None

    def add(self, rows: slice, views: Tensor, values: Tensor) -> None:
        """Add pictures of consecutive objects.

        Args:
            rows: The objects.
            views: Which view each column shows, int64 [M], all different.
            values: float64 [len(rows), M]; infinite ones (see ``count_equal``) and NaN (no value) stay out of means.
        """
        finite = values.isfinite()
        self._sums[rows, views] += torch.where(finite, values, 0.0)
        self._counts[rows, views] += finite
        if self._equal is not None:
            self._equal[rows, views] += values.isinf()

    def estimate(self, *, objects: Tensor | None = None, views: Sequence[int] | None = None) -> Estimate:
        """The mean over all pictures, or its root, or over those of some objects (bool [N]) or views."""
        chosen = torch.ones(len(self._sums), dtype=torch.bool) if objects is None else objects
        columns = slice(None) if views is None else list(views)
        sums, counts = self._sums[chosen][:, columns].sum(1), self._counts[chosen][:, columns].sum(1)
        equal = None if self._equal is None else int(self._equal[chosen][:, columns].sum())
        estimate = estimate_mean(sums, counts, equal=equal)
        return root_of(estimate) if self._root else estimate

    def object_means(self) -> Tensor:
        """The mean of each object, float64 [N]; infinite where all its pictures are equal to the true ones."""
        counts = self._counts.sum(1)
        nothing = torch.inf if self._equal is not None else torch.nan
        return torch.where(counts > 0, self._sums.sum(1) / counts, nothing)


def estimate_mean(sums: Tensor, counts: Tensor, *, equal: int | None = None) -> Estimate:
    """The mean over all pictures.

    Args:
        sums: Sum over each object's pictures, float64 [N].
        counts: Pictures of each object, int [N]; objects without any are left out.
        equal: See ``Estimate``.
    """
    counted = counts > 0
    sums, counts = sums[counted], counts[counted]
    pictures, objects = int(counts.sum()), len(sums)
    mean = float(sums.sum()) / pictures if pictures else math.nan
    error = math.nan
    if objects > 1:
        # Where all objects have equally many pictures, the standard error of the mean of their means.
        spread = float((sums - mean * counts).square().sum())
        error = math.sqrt(spread * objects / (objects - 1)) / pictures
    return _with_interval(mean, error, objects - 1, pictures, equal)


def root_of(square: Estimate) -> Estimate:
    """The root of a mean of squares, with the roots of its interval's ends."""
    # In this order max keeps NaN.
    mean, low, high = (math.sqrt(max(value, 0.0)) for value in (square.mean, square.low, square.high))
    error = square.standard_error / (2 * mean) if mean else math.nan
    return Estimate(mean, error, low, high, square.count, square.equal)


def estimate_by_jackknife(value: float, left_out: Sequence[float], count: int) -> Estimate:
    """A value with the interval that its variation without each of G groups of objects gives.

    A bias that all the values share, such as that of a distance between few pictures, moves the interval as it moves
    the value: the interval is for other sets of as many objects.

    Args:
        value: The number that all objects give.
        left_out: What all but one group give, for each group of about equally many objects; fewer than two give no
            interval.
        count: Pictures that the value is over.
    """
    groups = len(left_out)
    if groups < 2:
        return Estimate(value, math.nan, math.nan, math.nan, count)
    mean = sum(left_out) / groups
    error = math.sqrt((groups - 1) / groups * sum((other - mean) ** 2 for other in left_out))
    return _with_interval(value, error, groups - 1, count)


def _with_interval(mean: float, error: float, freedom: int, count: int, equal: int | None = None) -> Estimate:
    half = float(student.ppf((1 + LEVEL) / 2, freedom)) * error  # NaN without a degree of freedom
    return Estimate(mean, error, mean - half, mean + half, count, equal)
