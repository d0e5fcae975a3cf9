"""Networks with random weights, or that are more than these, and what engines make of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from helpers.networks import randomised
from torch import Tensor, nn

from dimvida.diffusion.solvers import step_table
from dimvida.models import ScoreNetwork
from dimvida.sampling import sample
from dimvida.sampling.engine import Engine
from dimvida.sampling.loop import run_on_engine
from dimvida.sampling.trajectory import Trajectory


def random_network(views: int = 4, dim: int = 6, width: int = 32, groups: int = 4, seed: int = 0) -> ScoreNetwork:
    """Random weights and biases everywhere, so that every term of every layer shows."""
    return randomised(ScoreNetwork(views, dim, width=width, time_dim=16, groups=groups), seed, gain=0.7)


def random_inputs(rows: int, views: int, dim: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    latents = torch.randn(rows, views, dim, generator=generator)
    return latents, torch.rand(rows, views, generator=generator) < 0.4


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
