"""Fréchet distances between two sets of pictures, as features of a network or as the autoencoder sees them.

The squared Fréchet distance between the Gaussians fitted to two sets of vectors is

    |mu_a - mu_b|^2 + tr(C_a + C_b - 2 (C_a^(1/2) C_b C_a^(1/2))^(1/2))

(Dowson and Landau, 1982). There are two uses of it:

- ``estimate_distance``, of features of pictures, from sums that grow with neither set. FID (Heusel et al., 2017) is
  this distance with the Inception network's features. Covariances are divided by one less than the number of pictures,
  as in torchmetrics.
- ``latent_frechet_distance``, of standardised latents of the model under test. Values compare samplers of one model on
  one set of objects; they do not compare models, and none of them is an FID.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dimvida.evaluation.metrics import estimate_with_interval
from dimvida.results.schema import Estimate
from dimvida.sampling.multiview import MultiViewModel

GROUPS = 10
"""Groups of objects, each left out once for the interval. More cost more decompositions of a covariance."""


@dataclass(frozen=True, slots=True)
class FeatureSums:
    """Sums over pictures that a Gaussian of their features is fitted from.

    Attributes:
        count: Number of pictures.
        total: Sum of their features, float64 [D].
        products: Sum of the features' outer products, float64 [D, D].
    """

    count: int
    total: Tensor
    products: Tensor

    @classmethod
    def of(cls, features: Tensor, repeats: Tensor | None = None) -> FeatureSums:
        """The sums over features, float [N, D]; each row counts as often as ``repeats`` says, int64 [N]."""
        rows = features.double()
        weighted = rows if repeats is None else rows * repeats.to(rows.device, rows.dtype)[:, None]
        count = len(rows) if repeats is None else int(repeats.sum())
        return cls(count, weighted.sum(0), weighted.T @ rows)

    @classmethod
    def empty(cls, size: int, device: torch.device | str = "cpu") -> FeatureSums:
        """The sums over no picture, of D = ``size`` features."""
        total = torch.zeros(size, dtype=torch.float64, device=device)
        return cls(0, total, torch.zeros(size, size, dtype=torch.float64, device=device))

    def __add__(self, other: FeatureSums) -> FeatureSums:
        return FeatureSums(self.count + other.count, self.total + other.total, self.products + other.products)

    def __sub__(self, other: FeatureSums) -> FeatureSums:
        return FeatureSums(self.count - other.count, self.total - other.total, self.products - other.products)

    def within(self, basis: Tensor) -> FeatureSums:
        """The sums over the features' coordinates in an orthonormal basis, float64 [D, R]."""
        return FeatureSums(self.count, self.total @ basis, basis.T @ self.products @ basis)

    def gaussian(self) -> tuple[Tensor, Tensor]:
        """The mean, float64 [D], and the covariance, float64 [D, D], divided by one less than the count."""
        mean = self.total / self.count
        return mean, (self.products - self.count * torch.outer(mean, mean)) / (self.count - 1)


class DistanceTally:
    """Features of generated pictures, summed up by group of objects, beside those of the true ones.

    Args:
        true: Features of every true view, float32 [N, V, D].
        groups: Group of each object, int64 [N], see ``object_groups``.
        device: The device that sums.
    """

    def __init__(self, true: Tensor, groups: Tensor, device: torch.device) -> None:
        self._true, self._groups, self._device = true, groups, device
        self._shown = torch.zeros(true.shape[:2], dtype=torch.int64)  # how often each object's view was scored
        self._sums = [FeatureSums.empty(true.shape[-1], device) for _ in range(int(groups.max()) + 1)]

    def add(self, rows: slice, views: Tensor, features: Tensor) -> None:
        """Add pictures of consecutive objects.

        Args:
            rows: Which of the N objects the batch has, one after the other.
            views: Which view each column shows, int64 [M], all different.
            features: float32 [len(rows), M, D].
        """
        groups = self._groups[rows]
        for group in groups.unique().tolist():
            chosen = features[(groups == group).to(features.device)].flatten(0, 1)
            self._sums[group] += FeatureSums.of(chosen)
        self._shown[rows, views] += 1

    def estimate(self) -> Estimate:
        """The distance to the true pictures, every view as often as it was added."""
        true = []
        for group in range(len(self._sums)):
            chosen = self._groups == group
            rows = self._true[chosen].to(self._device)
            true.append(FeatureSums.of(rows.flatten(0, 1), self._shown[chosen].flatten()))
        return estimate_distance(self._sums, true)


def object_groups(objects: int, seed: int) -> Tensor:
    """A group from 0 to ``GROUPS`` - 1 for every object, int64 [N]: drawn at random, of equal sizes to within one."""
    order = torch.randperm(objects, generator=torch.Generator().manual_seed(seed))
    return order % GROUPS


def estimate_distance(generated: Sequence[FeatureSums], true: Sequence[FeatureSums]) -> Estimate:
    """The distance between two sets of pictures of the same objects, with an interval.

    Args:
        generated: Sums over each group of objects' generated pictures.
        true: Over the same groups' true pictures.
    """
    generated, true = _in_their_span(generated, true)
    all_generated, all_true = _total(generated), _total(true)
    value = distance_of_sums(all_generated, all_true)
    left_out = []
    if len(generated) > 1:
        pairs = zip(generated, true, strict=True)
        left_out = [distance_of_sums(all_generated - made, all_true - shown) for made, shown in pairs]
    if any(math.isnan(distance) for distance in left_out):
        left_out = []
    return estimate_by_jackknife(value, left_out, all_generated.count)


def estimate_by_jackknife(value: float, left_out: Sequence[float], count: int) -> Estimate:
    """A value with the interval that its variation without each of G groups of objects gives: the grouped jackknife.

    Source: Wolter, Introduction to Variance Estimation, 2007, chapter 4.

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
    return estimate_with_interval(value, error, groups - 1, count)


def distance_of_sums(a: FeatureSums, b: FeatureSums) -> float:
    """The distance between the Gaussians of two sets; NaN where a set has fewer than two pictures."""
    if min(a.count, b.count) < 2:
        return math.nan
    return gaussian_distance(*a.gaussian(), *b.gaussian())


def frechet_distance(a: Tensor, b: Tensor) -> float:
    """Squared Fréchet distance between the Gaussians fitted to two samples.

    Covariances are those of the samples themselves (divided by N), so samples of fewer rows than columns are fine,
    and repeating every row changes nothing. The estimate is biased upwards, the more so the fewer rows.

    Args:
        a: float [N, D], N at least 1.
        b: float [M, D].

    Returns:
        Not negative.
    """
    return gaussian_distance(*_gaussian(a), *_gaussian(b))


def gaussian_distance(mean_a: Tensor, cov_a: Tensor, mean_b: Tensor, cov_b: Tensor) -> float:
    """Squared Fréchet distance between two Gaussians.

    Args:
        mean_a, mean_b: float64 [D].
        cov_a, cov_b: float64 [D, D], symmetric; singular ones are fine.

    Returns:
        Not negative.
    """
    values, vectors = torch.linalg.eigh(cov_a)
    root = (vectors * values.clamp_min(0).sqrt()) @ vectors.T
    cross = torch.linalg.eigvalsh(root @ cov_b @ root).clamp_min(0).sqrt().sum()
    distance = (mean_a - mean_b).square().sum() + cov_a.trace() + cov_b.trace() - 2 * cross
    return max(float(distance), 0.0)


def latent_frechet_distance(a: Tensor, b: Tensor, views: Sequence[int]) -> float:
    """``frechet_distance`` of every view by itself, and the mean over the views.

    Args:
        a: Standardised latents of pictures, float [N, P, D].
        b: The same of other pictures, float [M, P, D].
        views: Which view each of the P pictures of an object shows.
    """
    distances = []
    for view in sorted(set(views)):
        shown = torch.tensor([other == view for other in views])
        distances.append(frechet_distance(a[:, shown].flatten(0, 1), b[:, shown].flatten(0, 1)))
    return sum(distances) / len(distances)


def picture_latents(model: MultiViewModel, pictures: Tensor, batch: int) -> Tensor:
    """Standardised latents on the CPU, float32 [N, P, D], of uint8 [N, P, C, H, W], ``batch`` objects at a time."""
    return torch.cat([model.encode(part).cpu() for part in pictures.split(batch)])


def _gaussian(x: Tensor) -> tuple[Tensor, Tensor]:
    x = x.double()
    mean = x.mean(0)
    centred = x - mean
    return mean, centred.T @ centred / len(x)


def _in_their_span(
    generated: Sequence[FeatureSums], true: Sequence[FeatureSums]
) -> tuple[list[FeatureSums], list[FeatureSums]]:
    """The same sums in as many dimensions as all pictures span, where those are fewer than their features.

    Distances stay the same, and what is left to decompose is small.
    """
    pooled = _total(generated) + _total(true)
    size = len(pooled.total)
    if pooled.count < size:
        values, vectors = torch.linalg.eigh(pooled.products)
        basis = vectors[:, values > values[-1] * size * torch.finfo(values.dtype).eps]
        return [part.within(basis) for part in generated], [part.within(basis) for part in true]
    return list(generated), list(true)


def _total(parts: Sequence[FeatureSums]) -> FeatureSums:
    return sum(parts[1:], parts[0])
