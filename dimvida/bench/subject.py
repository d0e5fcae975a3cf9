"""What is timed: a score network, a batch of latents, and a trajectory over them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dimvida.diffusion.schedule import VPSchedule
from dimvida.diffusion.solvers import step_table
from dimvida.diffusion.step_table import StepTable
from dimvida.models.checkpoint import Checkpoint, CheckpointConfig
from dimvida.models.score_network import ScoreNetwork
from dimvida.sampling.multiview import MultiViewModel


@dataclass(frozen=True, slots=True)
class Subject:
    """A network and how it samples.

    Attributes:
        name: For people: where the network comes from.
        network: In float32, in evaluation mode.
        prediction: What its output means, see ``dimvida.diffusion.prediction``.
        schedule: Its noise schedule.
        x0_clip: Clamp of the data prediction; infinity for none.
    """

    name: str
    network: ScoreNetwork
    prediction: str
    schedule: VPSchedule
    x0_clip: float


@dataclass(frozen=True, slots=True)
class Case:
    """One trajectory to time.

    Attributes:
        subject: The network.
        latents: float32 [B, V, D].
        known: bool [B, V].
        solver: Solver name.
        table: Its steps.
        seed: Of the noise, where the noise is keyed by one.
        compile_mode: Mode of ``torch.compile``.
    """

    subject: Subject
    latents: Tensor
    known: Tensor
    solver: str
    table: StepTable
    seed: int
    compile_mode: str

    @property
    def device(self) -> torch.device:
        return self.latents.device

    @property
    def missing_views(self) -> int:
        """Views that one trajectory makes."""
        return int((~self.known).sum())


def random_model(config: CheckpointConfig) -> MultiViewModel:
    """A model of these sizes with random weights: how long a step takes does not depend on them.

    The last layer, which starts at zero in training, gets small weights: products with zeros can be faster.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        autoencoder, score = config.build()
        nn.init.normal_(score.output.weight, std=0.02)
    dim = config.autoencoder.latent_dim
    return MultiViewModel(Checkpoint(config, autoencoder, score, torch.zeros(dim), torch.ones(dim)))


def subject_of(model: MultiViewModel, name: str) -> Subject:
    """The score network of a model, and how it samples."""
    config = model.config
    return Subject(
        name,
        model.score,
        config.score.prediction,
        VPSchedule(config.beta0, config.beta1),
        config.sampling.x0_clip or math.inf,
    )


def make_case(
    subject: Subject,
    batch: int,
    *,
    solver: str,
    steps: int,
    device: torch.device,
    compile_mode: str,
    seed: int = 0,
) -> Case:
    """Random latents, of which row r knows view r mod V: every batch of several rows has several masks.

    Raises:
        InputError: For an unknown solver or fewer than 1 step.
    """
    views, dim = subject.network.views, subject.network.latent_dim
    generator = torch.Generator().manual_seed(seed)
    known = torch.arange(views) == torch.arange(batch)[:, None] % views
    return Case(
        subject=subject,
        latents=torch.randn(batch, views, dim, generator=generator).to(device),
        known=known.to(device),
        solver=solver,
        table=step_table(solver, steps, subject.schedule),
        seed=seed,
        compile_mode=compile_mode,
    )


def matrix_layers(network: ScoreNetwork) -> list[nn.Linear]:
    """The layers whose products a step cannot do without: all but those of the time conditioning.

    The multi-time vector takes as many values as there are masks and steps, so its layers can be a table.
    """
    return [
        layer
        for name, layer in network.named_modules()
        if isinstance(layer, nn.Linear) and not name.startswith("time_embedding") and not name.endswith(".time")
    ]


def flops_per_row(network: ScoreNetwork) -> int:
    """Floating-point operations of those products for one row and one step."""
    return sum(2 * layer.weight.numel() for layer in matrix_layers(network))
