"""What is timed: one trajectory of a score network over a batch of latents, and the floor of its products."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from dimvida.bench.timing import captured
from dimvida.diffusion.schedule import VPSchedule
from dimvida.diffusion.solvers import step_table
from dimvida.diffusion.step_table import StepTable
from dimvida.errors import InputError
from dimvida.models.checkpoint import Checkpoint, CheckpointConfig
from dimvida.models.score_network import MultiTimeNetwork
from dimvida.models.transformer import ViewTransformer
from dimvida.sampling import sample
from dimvida.sampling.multiview import MultiViewModel, load
from dimvida.training.config import load_preset

VIEWS = ("front", "right", "back", "left")


@dataclass(frozen=True, slots=True)
class Case:
    """One trajectory to time.

    Attributes:
        network: The score network, with float32 weights, in evaluation mode.
        prediction: What its output means, see ``prediction_factors``.
        schedule: The noise schedule that the network was trained with.
        x0_clip: Clamp of the data prediction; infinity for none.
        latents: Standardised latents, float32 [B, V, D].
        known: Which views are given, bool [B, V] on the CPU, where those have it that ask for views.
        solver: Name of a solver.
        table: The steps that the solver makes.
        compile_mode: Mode of ``torch.compile``.
    """

    network: MultiTimeNetwork
    prediction: str
    schedule: VPSchedule
    x0_clip: float
    latents: Tensor
    known: Tensor
    solver: str
    table: StepTable
    compile_mode: str = "default"

    @property
    def device(self) -> torch.device:
        return self.latents.device

    @property
    def missing_views(self) -> int:
        """Views that one trajectory makes."""
        return int((~self.known).sum())

    def sample(self, network: MultiTimeNetwork, backend: str, rows: slice = slice(None), **options: Any) -> Tensor:
        """The trajectory as users call it, of some rows: latents, float32 [rows, V, D]."""
        return sample(
            network,
            self.latents[rows],
            self.known[rows],
            solver=self.solver,
            steps=self.table.evaluations,
            backend=backend,
            x0_clip=self.x0_clip,
            schedule=self.schedule,
            prediction=self.prediction,
            **options,
        )


def make_case(model: MultiViewModel, batch: int, *, solver: str, steps: int, compile_mode: str = "default") -> Case:
    """A trajectory over random latents, on the model's device.

    Row r knows view r mod V, so that every batch of several rows has several masks.

    Raises:
        InputError: For an unknown solver or fewer than 1 step.
    """
    config, network = model.config, model.score
    schedule = VPSchedule(config.beta0, config.beta1)
    latents = torch.randn(batch, network.views, network.latent_dim, generator=torch.Generator().manual_seed(0))
    return Case(
        network=network,
        prediction=config.score.prediction,
        schedule=schedule,
        x0_clip=config.sampling.x0_clip or math.inf,
        latents=latents.to(model.device),
        known=one_known(batch, network.views),
        solver=solver,
        table=step_table(solver, steps, schedule),
        compile_mode=compile_mode,
    )


def one_known(batch: int, views: int) -> Tensor:
    """bool [batch, views]: row r knows view r mod V."""
    return torch.arange(views) == torch.arange(batch)[:, None] % views


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


def chosen_model(preset: str | None, checkpoint: str | None, device: torch.device) -> MultiViewModel:
    """A preset's model with random weights or, without a preset, a checkpoint's, by default the bundled one's.

    Raises:
        InputError: Both are given, or there is no such preset or checkpoint.
    """
    if preset is None:
        return load(checkpoint or "bundled", device)
    if checkpoint is not None:
        raise InputError("give --preset or --checkpoint, not both")
    return preset_model(preset).to(device)


def preset_model(preset: str, view_names: Sequence[str] = VIEWS) -> MultiViewModel:
    """A model of a preset's sizes with random weights, by default of four views, on the CPU.

    Raises:
        InputError: There is no such preset.
    """
    config = load_preset(preset)
    sizes = CheckpointConfig(tuple(view_names), (), config.autoencoder, config.score, sampling=config.sampling)
    return random_model(sizes)


CONDITIONING = ("time_embedding", "time", "modulation", "block_modulation", "view_embedding")
"""Modules whose layers are no part of a step: times take few values and views stay as they are, so what these make of
them can be a table."""


def matrix_layers(network: MultiTimeNetwork) -> list[nn.Linear]:
    """The layers whose products a step cannot do without: all but those of ``CONDITIONING``."""
    return [
        layer
        for name, layer in network.named_modules()
        if isinstance(layer, nn.Linear) and not set(CONDITIONING) & set(name.split("."))
    ]


def tokens_per_row(network: MultiTimeNetwork) -> int:
    """Rows of a product for a row of the batch: one of an MLP, the tokens of all views of a transformer."""
    return network.views * len(network.place_embedding) if isinstance(network, ViewTransformer) else 1


def attentions(network: MultiTimeNetwork) -> int:
    """How many attentions over its tokens a network has."""
    return len(network.blocks) if isinstance(network, ViewTransformer) else 0


def flops_per_row(network: MultiTimeNetwork) -> int:
    """Floating-point operations of those products, and of attention, for one row and one step."""
    tokens = tokens_per_row(network)
    products = sum(2 * tokens * layer.weight.numel() for layer in matrix_layers(network))
    return products + attentions(network) * 4 * tokens**2 * network.width


def matrix_products(case: Case, dtype: torch.dtype) -> Callable[[], None]:
    """The floor: products and attention of a whole trajectory, one [B, in] x [in, out] per layer and evaluation.

    Plain ``torch.mm`` on the layers' own weights, as many bytes as a step really reads, and nothing else but attention
    over what lies in memory as a product leaves it. On a GPU the products of a step are a CUDA graph: launches are no
    part of the floor. Of a transformer, whose tokens are many, activations of one size are one memory, as in a step.
    """
    generator = torch.Generator().manual_seed(0)
    tokens = tokens_per_row(case.network)
    rows = len(case.latents) * tokens
    memory: dict[object, Tensor] = {}

    def activations(use: str, columns: int, layer: int) -> Tensor:
        key = (use, columns) if tokens > 1 else (use, layer)
        if key not in memory:
            memory[key] = torch.randn(rows, columns, generator=generator).to(case.device, dtype)
        return memory[key]

    operands = []
    for number, layer in enumerate(matrix_layers(case.network)):
        weight = layer.weight.detach().to(dtype)  # [out, in]
        x, out = activations("x", weight.shape[1], number), activations("out", weight.shape[0], number)
        operands.append((x, weight.t(), out))
    heads = []
    if isinstance(case.network, ViewTransformer):
        joint = activations("out", 3 * case.network.width, 0)
        heads = joint.view(len(case.latents), tokens, 3, case.network.blocks[0].heads, -1).permute(2, 0, 3, 1, 4)

    def step() -> None:
        for x, weight, out in operands:
            torch.mm(x, weight, out=out)
        for _ in range(attentions(case.network)):
            functional.scaled_dot_product_attention(*heads)

    if case.device.type == "cuda":
        step = captured(step).replay

    def trajectory() -> None:
        for _ in range(case.table.evaluations):
            step()

    return trajectory
