"""What a training costs: of how much it is, how long and how large. Nothing is written, nothing computed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from dimvida.data.names import byte_size, counted
from dimvida.models.checkpoint import CheckpointConfig
from dimvida.models.config import Cameras
from dimvida.training.config import TrainConfig
from dimvida.training.data import TrainingData
from dimvida.training.latents import training_variants
from dimvida.training.stage_config import StageConfig

COPIES_OF_WEIGHTS = 4
"""Bytes of the weights times this: the weights, their gradient and the two means of Adam."""


@dataclass(frozen=True, slots=True)
class StepCost:
    """One optimiser step of a stage, in float32.

    Attributes:
        parameters: Weights of the network.
        operations: Floating point operations, forward and backward.
        memory: Bytes of weights, gradients, Adam's means, the average and what the backward pass needs.
    """

    parameters: int
    operations: int
    memory: int


def step_costs(config: TrainConfig, views: int, cameras: Cameras | None = None) -> dict[str, StepCost]:
    """What a step of each stage costs, found on networks without memory.

    Args:
        config: The run's configuration.
        views: Number of views V of an object.
        cameras: Of each, where the network is conditioned on them.
    """
    names = tuple(map(str, range(views)))
    sizes = CheckpointConfig(names, (), config.autoencoder, config.score, cameras=cameras)
    drawn = config.diffusion_stage.counts_of(views)[-1]
    with torch.device("meta"):
        autoencoder, score = sizes.build()
        edge, batch = config.autoencoder.image_size, config.diffusion_stage.batch
        images = torch.empty(config.autoencoder_stage.batch, config.autoencoder.channels, edge, edge)
        latents = torch.empty(batch, drawn, config.autoencoder.latent_dim), torch.empty(batch, drawn)
        which = () if drawn == views else (None, torch.arange(drawn))
    return {
        "autoencoder": _step_cost(autoencoder, config.autoencoder_stage, images),
        "diffusion": _step_cost(score, config.diffusion_stage, *latents, *which),
    }


def items_of(stage: str, data: TrainingData) -> int:
    """What an epoch of a stage goes through: the views that are there, or the objects with several."""
    views = data.present.sum(1)
    return int(views.sum() if stage == "autoencoder" else (views >= 2).sum())


def after_autoencoder(config: TrainConfig, data: TrainingData) -> float:
    """How many of the autoencoder's steps encoding and the diffusion's steps take, by their operations."""
    costs, options = step_costs(config, len(data.view_names), data.cameras), config.diffusion_stage
    variants = training_variants(config)
    # To encode is half of a forward pass, which is a third of a step.
    encoding = len(variants) * items_of("autoencoder", data) / config.autoencoder_stage.batch / 6
    steps = options.total_steps(items_of("diffusion", data))
    return encoding + steps * costs["diffusion"].operations / costs["autoencoder"].operations


def forecast(config: TrainConfig, data: TrainingData, stages: Sequence[str]) -> Iterator[str]:
    """Lines that say what would be trained.

    Args:
        config: The run's configuration.
        data: The data that it would be trained on.
        stages: Which ones, of ``autoencoder`` and ``diffusion``.
    """
    objects, channels = len(data.images), "RGB" if config.autoencoder.channels == 3 else "gray"
    split = data.description.get("split")
    yield (
        f"data: {counted(objects, 'object')} to train on and {len(data.held_out)} to validate with"
        + (f", of the split {split}" if split else "")
        + (f", in {len(data.classes)} classes" if len(data.classes) > 1 else "")
    )
    yield f"views: {', '.join(data.view_names)}" + (", told by their cameras" if data.cameras is not None else "")
    yield f"images: {config.autoencoder.image_size} x {config.autoencoder.image_size}, {channels}"
    costs = step_costs(config, len(data.view_names), data.cameras)
    for name in stages:
        options: StageConfig = getattr(config, f"{name}_stage")
        items, unit = items_of(name, data), "view" if name == "autoencoder" else "object"
        steps = options.total_steps(items)
        yield (
            f"{name}: {costs[name].parameters:,} parameters; {counted(steps, 'step')} of {counted(options.batch, unit)}"
            f", {_times(steps * options.batch / items)} over the data"
        )
    held = _bytes(data.images) + _bytes(data.held_out) + _latents(config, data)
    largest = max(costs[name].memory for name in stages)
    yield f"memory: about {byte_size(held + largest)}, of which the data take {byte_size(held)}"


def _step_cost(network: nn.Module, config: StageConfig, *inputs: Tensor | None) -> StepCost:
    weights = {id(weight) for weight in network.parameters()}
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        if id(tensor) not in weights:
            kept[id(tensor)] = tensor
        return tensor

    with FlopCounterMode(display=False) as counter:
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            output = network(*inputs)
        output.sum().backward()
    parameters = sum(weight.numel() for weight in network.parameters())
    copies = COPIES_OF_WEIGHTS + (config.ema > 0)
    return StepCost(parameters, counter.get_total_flops(), 4 * copies * parameters + sum(map(_bytes, kept.values())))


def _latents(config: TrainConfig, data: TrainingData) -> int:
    copies = len(data.held_out) + len(training_variants(config)) * len(data.images)
    return 4 * copies * len(data.view_names) * config.autoencoder.latent_dim


def _times(count: float) -> str:
    return f"{count:,.0f} times" if count >= 1000 else f"{count:.3g} times"


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()
