"""Networks, checkpoints and arguments of ops that tests know, and the devices that they run on.

The Gaussian is the known answer that solvers and samplers are tested on. For data N(MU, S^2) the marginals are Gaussian
and the exact score is affine in x. The rows of a solver then map the mean and variance of the state by a linear
recursion, computed here in float64 without sampling.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dimvida.diffusion.schedule import VPSchedule
from dimvida.diffusion.solvers import step_table
from dimvida.diffusion.step_table import StepRow
from dimvida.models import AutoencoderConfig, ScoreConfig, ScoreNetwork, TransformerConfig, ViewTransformer
from dimvida.models.checkpoint import Checkpoint, CheckpointConfig
from dimvida.models.classifiers import ImageClassifier, build_classifier
from dimvida.ops import native, registration
from dimvida.sampling import sample
from dimvida.sampling.engine import Engine
from dimvida.sampling.loop import run_on_engine
from dimvida.sampling.trajectory import Trajectory

_NEEDS_CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device is visible")
DEVICES = ["cpu", pytest.param("cuda", marks=[pytest.mark.gpu, _NEEDS_CUDA])]  # as parameters of a fixture
FLOATING = [torch.float32, torch.bfloat16, torch.float16]

# Blocks and threads of a launch: the whole work at once, several turns of the grid, and threads left over.
SHAPES = [(1, 32), (2, 64), (3, 96), (5, 256)]

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


def random_network(views: int = 4, dim: int = 6, width: int = 32, groups: int = 4, seed: int = 0) -> ScoreNetwork:
    """Random weights and biases everywhere, so that every term of every layer shows."""
    return randomised(ScoreNetwork(views, dim, width=width, time_dim=16, groups=groups), seed, gain=0.7)


def random_inputs(rows: int, views: int, dim: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    latents = torch.randn(rows, views, dim, generator=generator)
    return latents, torch.rand(rows, views, generator=generator) < 0.4


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


class Doubled(nn.Linear):
    """A layer that is more than its weights."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


def own_forward(network: nn.Module) -> None:
    """Let this one network give half of what it gave."""
    whole = network.forward
    network.forward = lambda *given, **named: whole(*given, **named) / 2


def subclass(network: nn.Module) -> None:
    """The same, as one of a class of its own."""

    class Halved(type(network)):
        def forward(self, *given: Tensor, **named: Tensor) -> Tensor:
            return super().forward(*given, **named) / 2

    network.__class__ = Halved


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
    return run_on_engine(engine, network, latents.clone(), table, trajectory)


def make_checkpoint(seed: int) -> Checkpoint:
    """Three views, and random weights."""
    torch.manual_seed(seed)
    config = CheckpointConfig(
        view_names=("front", "right", "back"),
        classes=("chair",),
        autoencoder=AutoencoderConfig(image_size=16, latent_dim=4, base=8),
        score=ScoreConfig(width=16, time_dim=8, groups=4),
        provenance={"note": "test"},
    )
    autoencoder, score = config.build()
    torch.nn.init.normal_(score.output.weight)
    return Checkpoint(config, autoencoder, score, torch.randn(4), torch.rand(4) + 0.5)


def edit_config(folder: Path, *forgotten: str, **changes: object) -> None:
    """Change options of its config.json, and leave some out."""
    path = folder / "config.json"
    values = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({name: value for name, value in values.items() if name not in forgotten}))


def same_weights(one: Checkpoint, other: Checkpoint) -> bool:
    """Whether all that two checkpoints compute with is equal."""

    def state(of: Checkpoint) -> dict[str, Tensor]:
        parts = {"autoencoder": of.autoencoder.state_dict(), "score": of.score.state_dict()}
        named = {f"{part}.{name}": tensor for part, tensors in parts.items() for name, tensor in tensors.items()}
        return {**named, "mean": of.latent_mean, "std": of.latent_std}

    first, second = state(one), state(other)
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def params_of(name: str, *arguments):
    """The parameters of an op's kernel: its arguments in order, then its result if it has one."""
    op = registration.OPS[name]
    return op.fill(op.check(*arguments[: len(op.signature.parameters)]), arguments)


def finish(status: int) -> None:
    assert status == 0, native._native.cuda_error_string(status)


def same(a, b) -> bool:
    """Equal bit for bit, NaNs and absent tensors included."""
    if a is None or b is None:
        return a is b
    size = {4: torch.int32, 2: torch.int16}[a.element_size()]
    return torch.equal(a.cpu().view(size), b.cpu().view(size))


def unaligned(tensor):
    """The same values one element past an aligned address; also the end of their memory."""
    if tensor is None:
        return None
    room = tensor.new_empty(tensor.numel() + 1)
    room[1:] = tensor.flatten()
    return room[1:].view(tensor.shape)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class Arguments:
    """The arguments of an op as a dataclass, in the order of its schema."""

    def args(self) -> tuple[Any, ...]:
        return tuple(vars(self).values())


@dataclass(frozen=True)
class NormCase(Arguments):
    """The arguments of ``group_norm_silu_``, in the order of its schema."""

    out: Tensor
    left: Tensor
    weight: Tensor
    bias: Tensor
    groups: int
    eps: float = 1e-5
    right: Tensor | None = None
    time_bias: Tensor | None = None
    table_row: Tensor | None = None
    step: Tensor | None = None

    def to(self, device: str) -> NormCase:
        """The same values in memory of their own, each row as far from the next as here."""
        moved = {}
        for name, tensor in vars(self).items():
            if isinstance(tensor, Tensor):
                other = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device=device)
                moved[name] = other.copy_(tensor)
        return replace(self, **moved)


def random_norm(
    batch: int = 5,
    left: int = 24,
    right: int = 24,
    groups: int = 4,
    *,
    dtype: torch.dtype = torch.float32,
    out_dtype: torch.dtype = torch.float32,
    masks: int = 3,
    steps: int = 2,
    gap: int = 0,
    step_dtype: torch.dtype = torch.int64,
    seed: int = 0,
) -> NormCase:
    """Random tensors of all kinds; no time bias where ``masks`` is 0."""
    g = torch.Generator().manual_seed(seed)
    width = left + right

    def apart(columns: int) -> Tensor:
        """Rows with ``gap`` unused elements after each."""
        return torch.randn(batch, columns + gap, generator=g).to(dtype)[:, :columns]

    return NormCase(
        out=torch.zeros(batch, width + gap, dtype=out_dtype)[:, :width],
        left=apart(left),
        weight=torch.randn(width, generator=g),
        bias=torch.randn(width, generator=g),
        groups=groups,
        right=apart(right) if right else None,
        time_bias=torch.randn(masks, steps, width + gap, generator=g)[..., :width] if masks else None,
        table_row=torch.randint(masks, (batch,), generator=g) if masks else None,
        step=torch.randint(steps, (1,), generator=g).to(step_dtype) if masks else None,
    )
