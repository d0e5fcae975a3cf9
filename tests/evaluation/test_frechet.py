"""The latent Fréchet distance against values that can be worked out by hand."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dimvida.evaluation.frechet import frechet_distance, latent_frechet_distance


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
