"""Networks that tests know: a Gaussian's exact score, random score networks, and a random Inception network; devices.

The Gaussian is the known answer that solvers and samplers are tested on. For data N(MU, S^2) the marginals are Gaussian
and the exact score is affine in x. The rows of a solver then map the mean and variance of the state by a linear
recursion, computed here in float64 without sampling.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from dimvida.diffusion.schedule import VPSchedule
from dimvida.diffusion.solvers import step_table
from dimvida.diffusion.step_table import StepRow
from dimvida.models import ScoreNetwork, TransformerConfig, ViewTransformer
from dimvida.models.classifiers import ImageClassifier, build_classifier
from dimvida.sampling import sample
from dimvida.sampling.engine import Engine
from dimvida.sampling.loop import run_steps
from dimvida.sampling.trajectory import Trajectory

DEVICES = [
    "cpu",
    pytest.param(
        "cuda",
        marks=[
            pytest.mark.gpu,
            pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device is visible"),
        ],
    ),
]
"""As parameters of a fixture."""

SCHEDULE = VPSchedule()
MU, S = 0.8, 0.5


def marginal(t: float) -> tuple[float, float]:
    """Exact mean and variance at time t."""
    time = torch.tensor(t, dtype=torch.float64)
    m, sigma = float(SCHEDULE.mean(time)), float(SCHEDULE.sigma(time))
    return m * MU, (m * S) ** 2 + sigma**2


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


def random_network(views: int = 4, dim: int = 6, width: int = 32, groups: int = 4, seed: int = 0) -> ScoreNetwork:
    """Random weights and biases everywhere, so that every term of every layer shows."""
    network = ScoreNetwork(views, dim, width=width, time_dim=16, groups=groups)
    generator = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        scale = 0.7 * parameter[0].numel() ** -0.5 if parameter.ndim > 1 else 0.3
        parameter.data.copy_(scale * torch.randn(parameter.shape, generator=generator))
    return network


def random_inputs(rows: int, views: int, dim: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    latents = torch.randn(rows, views, dim, generator=generator)
    return latents, torch.rand(rows, views, generator=generator) < 0.4


def write_inception(path: Path, seed: int = 0) -> Path:
    """Weights with torch-fidelity's names, scaled so that pictures give different features; skips without it."""
    package = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")

    class Untrained(package.FeatureExtractorInceptionV3):
        def load_state_dict(self, *arguments: object, **options: object) -> None:
            """Stay as it was made."""

    torch.manual_seed(seed)
    torch.save({}, path)
    network = Untrained("inception-v3-compat", ["2048"], str(path))
    for parameter in network.parameters():
        if parameter.ndim == 4:
            torch.nn.init.kaiming_normal_(parameter, nonlinearity="relu")
    torch.save(network.state_dict(), path)
    return path


def tiny_transformer(
    views: int,
    latent_shape: tuple[int, int, int],
    cameras: list[tuple[float, float]] | None = None,
    **options: str,
) -> ViewTransformer:
    """Random weights and biases everywhere, also where training begins with zeros."""
    config = TransformerConfig(width=16, depth=2, heads=2, patch=2, mlp_ratio=2, time_dim=8, **options)
    return randomised(config.build(views, latent_shape, cameras))


def randomised(network: ViewTransformer, seed: int = 0) -> ViewTransformer:
    """The same network with random numbers in all its weights."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        scale = parameter[0].numel() ** -0.5 if parameter.ndim > 1 else 0.3
        parameter.data.copy_(scale * torch.randn(parameter.shape, generator=generator))
    return network


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """A caller that has set another default type."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def random_images(count: int = 3, size: int = 32) -> Tensor:
    """uint8 [count, 3, size, size]; the same for every call."""
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8, generator=generator)


def small_classifier(classes: int = 3, **options: object) -> ImageClassifier:
    """The smallest that there is, with random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        names = [f"class {number}" for number in range(classes)]
        return build_classifier("mobilenet-v3-small", names, **options).eval()


def fused_and_eager(network: ScoreNetwork, latents: Tensor, known: Tensor, **options) -> tuple[Tensor, Tensor]:
    """What the engine in float32 and the eager network make of the same."""
    eager = sample(network, latents, known, backend="eager", **options)
    fused = sample(network, latents, known, backend="fused", dtype=torch.float32, **options)
    return fused, eager


def engine_run(engine: Engine, network: ScoreNetwork, rows: int, solver: str = "euler-maruyama") -> Tensor:
    """Five evaluations of a network by an engine, of inputs that depend on nothing else."""
    latents, known = random_inputs(rows, network.views, network.latent_dim)
    table = step_table(solver, 5)
    trajectory = Trajectory(table.tensor(), known, torch.arange(rows), torch.tensor([1]), None, 4.0)
    return engine.run(network, latents.clone(), table, trajectory, run_steps)
