"""Fréchet distance between the features of two sets of pictures, from sums that grow with neither set.

FID (Heusel et al., 2017) is this distance with the Inception network's features. Covariances are divided by one less
than the number of pictures, as in torchmetrics.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dimvida.evaluation.estimates import Estimate, estimate_by_jackknife
from dimvida.evaluation.frechet import gaussian_distance

GROUPS = 10
"""Groups of objects, each left out once for the interval. More cost more decompositions of a covariance."""


@dataclass(frozen=True, slots=True)
class Moments:
    """What a Gaussian is fitted from.

    Attributes:
        count: Pictures.
        total: Sum of their features, float64 [D].
        products: Sum of the features' outer products, float64 [D, D].
    """

    count: int
    total: Tensor
    products: Tensor

    @classmethod
    def of(cls, features: Tensor, repeats: Tensor | None = None) -> Moments:
        """Of float [N, D]; each row counts as often as ``repeats`` says, int64 [N]."""
        rows = features.double()
        weighted = rows if repeats is None else rows * repeats.to(rows.device, rows.dtype)[:, None]
        count = len(rows) if repeats is None else int(repeats.sum())
        return cls(count, weighted.sum(0), weighted.T @ rows)

    @classmethod
    def empty(cls, size: int, device: torch.device | str = "cpu") -> Moments:
        """Of no picture."""
        total = torch.zeros(size, dtype=torch.float64, device=device)
        return cls(0, total, torch.zeros(size, size, dtype=torch.float64, device=device))

    def __add__(self, other: Moments) -> Moments:
        return Moments(self.count + other.count, self.total + other.total, self.products + other.products)

    def __sub__(self, other: Moments) -> Moments:
        return Moments(self.count - other.count, self.total - other.total, self.products - other.products)

    def within(self, basis: Tensor) -> Moments:
        """Of the features' coordinates in an orthonormal basis, float64 [D, R]."""
        return Moments(self.count, self.total @ basis, basis.T @ self.products @ basis)

    def gaussian(self) -> tuple[Tensor, Tensor]:
        """Mean and covariance."""
        mean = self.total / self.count
        return mean, (self.products - self.count * torch.outer(mean, mean)) / (self.count - 1)


def object_groups(objects: int, seed: int) -> Tensor:
    """A group from 0 to ``GROUPS`` - 1 for every object, int64 [N]: drawn at random, of equal sizes to within one."""
    order = torch.randperm(objects, generator=torch.Generator().manual_seed(seed))
    return order % min(GROUPS, objects)


def estimate_distance(generated: Sequence[Moments], true: Sequence[Moments]) -> Estimate:
    """The distance between two sets of pictures of the same objects, with an interval.

    Args:
        generated: Moments of each group of objects' generated pictures.
        true: Of the same groups' true pictures.
    """
    generated, true = _in_their_span(generated, true)
    all_generated, all_true = _sum(generated), _sum(true)
    value = moment_distance(all_generated, all_true)
    left_out = []
    if len(generated) > 1:
        pairs = zip(generated, true, strict=True)
        left_out = [moment_distance(all_generated - made, all_true - shown) for made, shown in pairs]
    if any(math.isnan(distance) for distance in left_out):
        left_out = []
    return estimate_by_jackknife(value, left_out, all_generated.count)


def moment_distance(a: Moments, b: Moments) -> float:
    """The distance between the Gaussians of two sets; NaN where a set has fewer than two pictures."""
    if min(a.count, b.count) < 2:
        return math.nan
    return gaussian_distance(*a.gaussian(), *b.gaussian())


def _in_their_span(generated: Sequence[Moments], true: Sequence[Moments]) -> tuple[list[Moments], list[Moments]]:
    """The same moments in as many dimensions as all pictures span, where those are fewer than their features.

    Distances stay the same, and what is left to decompose is small.
    """
    pooled = _sum(generated) + _sum(true)
    size = len(pooled.total)
    if pooled.count < size:
        values, vectors = torch.linalg.eigh(pooled.products)
        basis = vectors[:, values > values[-1] * size * torch.finfo(values.dtype).eps]
        return [part.within(basis) for part in generated], [part.within(basis) for part in true]
    return list(generated), list(true)


def _sum(moments: Sequence[Moments]) -> Moments:
    return sum(moments[1:], moments[0])
