"""Sums of one metric by object and by view, from which every mean of it follows."""

from __future__ import annotations

import torch
from torch import Tensor

from dimvida.evaluation.estimates import Estimate, estimate_mean


class Tally:
    """Takes a metric's values batch by batch and keeps sums of N x V, however many pictures there are.

    Args:
        objects: N.
        views: V.
        count_equal: Infinite values mean equal pictures and are counted as such (PSNR).
    """

    def __init__(self, objects: int, views: int, *, count_equal: bool = False) -> None:
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

    def estimate(self, *, objects: Tensor | None = None, view: int | None = None) -> Estimate:
        """The mean over all pictures, or over those of some objects (bool [N]) or of one view."""
        chosen = torch.ones(len(self._sums), dtype=torch.bool) if objects is None else objects
        columns = slice(None) if view is None else slice(view, view + 1)
        sums, counts = self._sums[chosen, columns].sum(1), self._counts[chosen, columns].sum(1)
        equal = None if self._equal is None else int(self._equal[chosen, columns].sum())
        return estimate_mean(sums, counts, equal=equal)

    def object_means(self) -> Tensor:
        """The mean of each object, float64 [N]; infinite where all its pictures are equal to the true ones."""
        counts = self._counts.sum(1)
        nothing = torch.inf if self._equal is not None else torch.nan
        return torch.where(counts > 0, self._sums.sum(1) / counts, nothing)
