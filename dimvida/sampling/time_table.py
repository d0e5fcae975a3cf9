"""Time conditioning as a table: only the distinct masks of a batch and the steps of a trajectory matter.

The multi-time vector of a row is ``t * missing``, so all rows with the same known views share, at each evaluation, what
the time embedding adds inside every residual block. That is computed once per trajectory and gathered by the kernels.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor
from torch.nn import functional

from dimvida.sampling.plan import TimeWeights

LARGEST_TABLE = 2**28
"""Bytes above which only the current step's part is held, and recomputed at each evaluation."""


class TimeTable:
    """What the time embedding adds, float32 [masks, evaluations held, blocks, W].

    Args:
        weights: Of the embedding and of every block's projection of it.
        missing: The distinct masks, float32 [masks, V]: 1 for a missing view.
        times: Time of each evaluation, float32 [evaluations].
        width: Width W of the blocks.
        largest: Bytes above which only one evaluation is held.
    """

    def __init__(self, weights: TimeWeights, missing: Tensor, times: Tensor, width: int, largest: int) -> None:
        self.weights, self.missing, self.times = weights, missing, times
        blocks = len(weights.bias) // width
        self.holds_all = 4 * len(missing) * len(times) * len(weights.bias) <= largest
        held = len(times) if self.holds_all else 1
        self.rows = missing.new_empty(len(missing), held, blocks, width)
        if self.holds_all:
            self._fill(times)

    def copy(self) -> TimeTable:
        """The same table in memory of its own."""
        other = copy.copy(self)
        other.missing, other.times, other.rows = self.missing.clone(), self.times.clone(), self.rows.clone()
        return other

    def prepare(self, evaluation: Tensor) -> None:
        """Make the rows of an evaluation, int64 [1], ready."""
        if not self.holds_all:
            self._fill(self.times.index_select(0, evaluation))

    def step(self, evaluation: Tensor) -> Tensor | None:
        """The index along the second dimension of ``rows`` for an evaluation, int64 [1]."""
        return evaluation if self.holds_all else None

    def _fill(self, times: Tensor) -> None:
        tau = self.missing[:, None, :] * times[:, None]  # [masks, times, V]
        c = functional.silu(self.weights.embed(tau))  # [masks, times, T]
        torch.addmm(self.weights.bias, c.flatten(0, 1), self.weights.weight.t(), out=self.rows.flatten(2).flatten(0, 1))
