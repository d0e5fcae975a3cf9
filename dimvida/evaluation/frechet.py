"""A distance between two sets of views as the autoencoder sees them: the latent Fréchet distance.

Squared Fréchet distance between the Gaussians fitted to two sets of standardised latents,

    |mu_a - mu_b|^2 + tr(C_a + C_b - 2 (C_a^(1/2) C_b C_a^(1/2))^(1/2))

(Dowson and Landau, 1982). The form is that of FID (Heusel et al., 2017), the features are not: those are the latents
of the model under test, in units of their standard deviation over its training views. Values compare samplers of one
model on one set of objects; they do not compare models, and none of them is an FID.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dimvida.sampling.multiview import MultiViewModel


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
