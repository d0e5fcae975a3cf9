"""Networks that tests know, how they run ops and on which devices, and short trainings: settings, and what is left.

The Gaussian is the known answer that solvers and samplers are tested on. For data N(MU, S^2) the marginals are Gaussian
and the exact score is affine in x. The rows of a solver then map the mean and variance of the state by a linear
recursion, computed here in float64 without sampling.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.objects import SIZE
from torch import Tensor, nn

from dimvida.diffusion.schedule import VPSchedule
from dimvida.diffusion.step_table import StepRow
from dimvida.models import TransformerConfig, ViewTransformer
from dimvida.models.checkpoint import WEIGHT_FILES
from dimvida.training.control import ShowProgress

_NEEDS_CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device is visible")
DEVICES = ["cpu", pytest.param("cuda", marks=[pytest.mark.gpu, _NEEDS_CUDA])]  # as parameters of a fixture


SCHEDULE = VPSchedule()
MU, S = 0.8, 0.5


def noise_network(x: Tensor, tau: Tensor) -> Tensor:
    """Minus the best noise prediction for independent entries N(MU, S^2) at each row's diffusion time."""
    t = tau.max(1, keepdim=True).values.double()[..., None]
    m, sigma = SCHEDULE.mean(t), SCHEDULE.sigma(t)
    return (-sigma * (x - m * MU) / ((m * S) ** 2 + sigma**2)).float()


def propagate(rows: Iterable[StepRow], mean: float, variance: float) -> tuple[float, float]:
    """Mean and variance of x after the rows, with the exact score."""
    mu, covariance = np.array([mean, 0.0]), np.diag([variance, 0.0])  # of (x, x0_prev)
    for row in rows:
        if row.evaluate:
            # out = sigma * score, hence x0 = gain * x + offset.
            exact = (row.m * S) ** 2 + row.sigma**2
            gain, offset = (1 - row.sigma**2 / exact) / row.m, row.sigma**2 * MU / exact
            matrix = np.array([[row.a + row.b * gain, row.c], [gain, 0.0]])
            shift = np.array([row.b * offset, offset])
        else:
            matrix, shift = np.diag([row.a, 1.0]), np.zeros(2)
        mu = matrix @ mu + shift
        covariance = matrix @ covariance @ matrix.T
        covariance[0, 0] += row.d**2
    return float(mu[0]), float(covariance[0, 0])


def velocity_network(x: Tensor, tau: Tensor) -> Tensor:
    """The exact velocity v = m eps - sigma x0 of the same Gaussian."""
    m, sigma = SCHEDULE.mean(tau)[..., None], SCHEDULE.sigma(tau)[..., None]
    eps = -noise_network(x, tau)
    return m * eps - sigma * (x - sigma * eps) / m


def tiny_transformer(
    views: int,
    latent_shape: tuple[int, int, int],
    cameras: list[tuple[float, float]] | None = None,
    **options: str,
) -> ViewTransformer:
    """Random weights and biases everywhere, also where training begins with zeros."""
    config = TransformerConfig(width=16, depth=2, heads=2, patch=2, mlp_ratio=2, time_dim=8, **options)
    return randomised(config.build(views, latent_shape, cameras))


def randomised(network: nn.Module, seed: int = 0, gain: float = 1.0) -> Any:
    """The same network with random numbers in all its weights."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        scale = gain * parameter[0].numel() ** -0.5 if parameter.ndim > 1 else 0.3
        parameter.data.copy_(scale * torch.randn(parameter.shape, generator=generator))
    return network


# The paper's networks at a size at which a whole training of the lengths of the preset "tiny" takes a few seconds.
FAST = (
    "autoencoder.kind=pooling",
    f"autoencoder.image_size={SIZE}",
    "autoencoder.latent_dim=8",
    "autoencoder.base=8",
    "score.kind=mlp",
    "score.prediction=velocity",
    "score.width=32",
    "score.time_dim=16",
    "score.groups=4",
    "autoencoder_stage.steps=60",
    "autoencoder_stage.batch=16",
    "autoencoder_stage.log_every=10",
    "autoencoder_stage.save_every=25",
    "autoencoder_stage.sheet_every=0",
    "diffusion_stage.steps=120",
    "diffusion_stage.batch=16",
    "diffusion_stage.log_every=10",
    "diffusion_stage.save_every=50",
    "diffusion_stage.sheet_every=0",
)
SHORT = (*FAST, "autoencoder_stage.steps=30", "diffusion_stage.steps=60", "diffusion_stage.save_every=1000")

# The same lengths for a grid autoencoder and a view transformer of four tokens a view.
TRANSFORMER = (
    *(setting for setting in SHORT if "_stage." in setting),
    "autoencoder.kind=grid",
    f"autoencoder.image_size={SIZE}",
    "autoencoder.latent_channels=2",
    "autoencoder.base=8",
    "score.kind=transformer",
    "score.width=16",
    "score.depth=2",
    "score.heads=2",
    "score.patch=1",
    "score.time_dim=8",
    "autoencoder_stage.latent_noise=0.1",
)


def options(settings: tuple[str, ...] | list[str]) -> list[str]:
    """Settings as command line options."""
    return [part for setting in settings for part in ("--set", setting)]


def weights(out: Path, folder: str = "checkpoint") -> list[bytes]:
    """The bytes of a run's weights, or of those in another folder of it."""
    return [(out / folder / name).read_bytes() for name in WEIGHT_FILES]


def curve(path: Path) -> list[dict[str, str]]:
    """A learning curve without its times."""
    with open(path) as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        del row["seconds"]
    return rows


def has_reached(out: Path, stage: str, step: int) -> bool:
    """Whether the learning curve of a stage, which may not be there yet, has come to a step."""
    path = out / f"{stage}.csv"
    return path.exists() and int(curve(path)[-1]["step"]) >= step


class StopAfter:
    """Asks the loop to stop once it has been asked that many times whether to."""

    def __init__(self, questions: int) -> None:
        self.left = questions

    @property
    def requested(self) -> bool:
        self.left -= 1
        return self.left < 0


def no_progress(work: str, total: int, unit: str, done: int, later: float = 0.0) -> ShowProgress:
    """Shows nothing of a training."""
    return lambda done, note="": None
