"""Fréchet distances: by hand, by torchmetrics and by the formula on the features; and their interval."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import t as student
from torchmetrics.image.fid import FrechetInceptionDistance

from dimvida.evaluation.frechet import (
    GROUPS,
    FeatureSums,
    distance_of_sums,
    estimate_by_jackknife,
    estimate_distance,
    frechet_distance,
    latent_frechet_distance,
    object_groups,
)


def normal(rows: int, columns: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def whitened(rows: int, columns: int) -> torch.Tensor:
    """Mean exactly 0, covariance exactly I."""
    x = normal(rows, columns)
    x = x - x.mean(0)
    values, vectors = torch.linalg.eigh(x.T @ x / rows)
    return x @ (vectors / values.sqrt()) @ vectors.T


def test_a_shift_is_its_squared_length():
    x = normal(50, 3)
    assert frechet_distance(x, x + torch.tensor([1.0, -2.0, 2.0])) == pytest.approx(9.0)


def test_gaussians_whose_covariances_commute():
    # Along an axis the distance is (sigma_a - sigma_b)^2.
    x = whitened(200, 3)
    a, b = x * torch.tensor([1.0, 2.0, 5.0]), x * torch.tensor([4.0, 2.0, 1.0])
    assert frechet_distance(a, b) == pytest.approx(9 + 0 + 16)


def test_gaussians_whose_covariances_do_not_commute():
    x = whitened(200, 2)
    turn = torch.tensor([[0.6, -0.8], [0.8, 0.6]], dtype=torch.float64)
    a, b = x * torch.tensor([1.0, 3.0]), (x * torch.tensor([1.0, 3.0])) @ turn
    # tr (A^1/2 B A^1/2)^1/2 of a 2 x 2 matrix M is sqrt(tr M + 2 sqrt(det M)).
    cov_a, cov_b = (y.T @ y / len(y) for y in (a, b))
    product = cov_a @ cov_b
    cross = float((product.trace() + 2 * torch.linalg.det(product).sqrt()).sqrt())
    assert frechet_distance(a, b) == pytest.approx(20 - 2 * cross)
    assert 20 - 2 * cross > 1


@given(rows=st.integers(1, 12), columns=st.integers(1, 12), seed=st.integers(0, 100))
def test_it_is_a_distance(rows: int, columns: int, seed: int):
    a, b = normal(rows, columns, seed), normal(rows + 3, columns, seed + 1)
    there, back = frechet_distance(a, b), frechet_distance(b, a)
    assert there == pytest.approx(back, abs=1e-6)
    assert there > 0
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-6)
    # Repeated rows are the same Gaussian.
    assert frechet_distance(a.repeat(3, 1), b) == pytest.approx(there, abs=1e-6)


def test_every_view_counts_by_itself():
    a = normal(40, 2).unsqueeze(1)
    # Both pictures show view 5: one distance over both. As different views, each has its own.
    pictures, others = torch.cat([a, a + 10], 1), torch.cat([a + 10, a], 1)
    assert latent_frechet_distance(pictures, others, [5, 5]) == pytest.approx(0, abs=1e-9)
    assert latent_frechet_distance(pictures, others, [5, 6]) == pytest.approx(200)
    shifted = torch.cat([a + 1, a + 10], 1)
    assert latent_frechet_distance(pictures, shifted, [5, 6]) == pytest.approx((2 + 0) / 2)


class Given(torch.nn.Module):
    """Its input as features, for torchmetrics' computation."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.num_features = size

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return features


def by_torchmetrics(generated: torch.Tensor, true: torch.Tensor) -> float:
    metric = FrechetInceptionDistance(feature=Given(generated.shape[1]))
    metric.update(true, real=True)
    metric.update(generated, real=False)
    return metric.compute().item()


def by_the_formula(generated: torch.Tensor, true: torch.Tensor) -> float:
    """tr (A B)^(1/2) is the sum of the singular values of the product of two square roots, here the centred rows."""
    roots = [(x - x.mean(0)) / math.sqrt(len(x) - 1) for x in (generated, true)]
    traces = sum(root.square().sum() for root in roots)
    cross = torch.linalg.svdvals(roots[0] @ roots[1].T).sum()
    return float((generated.mean(0) - true.mean(0)).square().sum() + traces - 2 * cross)


def grouped(features: torch.Tensor, groups: int) -> list[FeatureSums]:
    return [FeatureSums.of(part) for part in features.chunk(groups)]


@pytest.mark.parametrize(("rows", "columns"), [(60, 6), (7, 24)], ids=["many pictures", "few pictures"])
def test_it_is_the_distance_of_torchmetrics(rows: int, columns: int):
    generated, true = normal(rows, columns, 0), 0.5 + 2 * normal(rows + 5, columns, 1)
    estimate = estimate_distance(grouped(generated, 3), grouped(true, 3))
    assert estimate.mean == pytest.approx(by_the_formula(generated, true), rel=1e-6)
    assert estimate.mean == pytest.approx(by_torchmetrics(generated, true), rel=1e-4)
    assert estimate.count == rows
    assert estimate.low < estimate.mean < estimate.high


def test_repeated_rows_count_as_often():
    rows, repeats = normal(4, 3, 0), torch.tensor([1, 0, 3, 2])
    expected = FeatureSums.of(rows.repeat_interleave(repeats, 0))
    moments = FeatureSums.of(rows, repeats)
    assert moments.count == expected.count == 6
    torch.testing.assert_close(moments.total, expected.total)
    torch.testing.assert_close(moments.products, expected.products)


def test_the_interval_is_that_of_leaving_groups_out():
    generated, true = normal(40, 3, 0), normal(40, 3, 1) + 1
    estimate = estimate_distance(grouped(generated, 4), grouped(true, 4))
    left_out = []
    for group in range(4):
        rest = torch.cat([torch.arange(g * 10, g * 10 + 10) for g in range(4) if g != group])
        left_out.append(distance_of_sums(FeatureSums.of(generated[rest]), FeatureSums.of(true[rest])))
    mean = sum(left_out) / 4
    expected = math.sqrt(3 / 4 * sum((value - mean) ** 2 for value in left_out))
    assert estimate.standard_error == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("columns", [2, 36], ids=["many pictures", "few pictures"])
def test_the_interval_holds_about_as_often_as_it_says(columns: int):
    # For the mean distance of as many pictures, which is what the interval is for: few pictures have a large bias.
    distances, intervals = [], []
    for trial in range(120):
        true = normal(30, columns, 2 * trial)
        generated = 0.7 * true + 0.6 * normal(30, columns, 2 * trial + 1) + 0.3
        estimate = estimate_distance(grouped(generated, GROUPS), grouped(true, GROUPS))
        distances.append(estimate.mean)
        intervals.append((estimate.low, estimate.high))
    expected = sum(distances) / len(distances)
    held = sum(low <= expected <= high for low, high in intervals) / len(intervals)
    assert held >= 0.88


def test_too_few_pictures_have_no_distance():
    one, two = [FeatureSums.of(normal(1, 3, 0))], [FeatureSums.of(normal(2, 3, 1))]
    assert math.isnan(estimate_distance(one, two).mean)
    # Two of each have one, but without either group there is none left.
    pairs = estimate_distance(one + one, one + two)
    assert math.isfinite(pairs.mean) and math.isnan(pairs.low)


def test_groups_are_drawn_and_of_one_size():
    groups = object_groups(95, seed=3)
    assert sorted(groups.bincount().tolist()) == [9] * 5 + [10] * 5
    assert groups.tolist() == object_groups(95, seed=3).tolist() != object_groups(95, seed=4).tolist()
    assert sorted(object_groups(4, seed=0).tolist()) == [0, 1, 2, 3]


def test_the_jackknife_of_a_mean_is_its_standard_error():
    values = torch.randn(10, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    left_out = [float(torch.cat([values[:i], values[i + 1 :]]).mean()) for i in range(10)]
    estimate = estimate_by_jackknife(float(values.mean()), left_out, 10)
    assert estimate.standard_error == pytest.approx(float(values.std()) / math.sqrt(10))
    half = student.ppf(0.975, 9) * estimate.standard_error
    assert (estimate.low, estimate.high) == pytest.approx((estimate.mean - half, estimate.mean + half), rel=1e-3)


def test_one_group_has_no_interval():
    estimate = estimate_by_jackknife(1.5, [1.0], 7)
    assert (estimate.mean, estimate.count) == (1.5, 7) and math.isnan(estimate.low)
