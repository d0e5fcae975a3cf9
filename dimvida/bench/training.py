"""A training step beside its own forward and backward pass."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import torch

from dimvida.bench.case import VIEWS
from dimvida.bench.timing import current, interleaved
from dimvida.diffusion.schedule import VPSchedule
from dimvida.models.checkpoint import CheckpointConfig
from dimvida.results.benchmarks import Spread, StepTimes
from dimvida.training.autoencoder import AutoencoderObjective
from dimvida.training.batches import Draws, Objective
from dimvida.training.config import TrainConfig
from dimvida.training.diffusion import DiffusionObjective
from dimvida.training.loop import loss_module, optimise, read_losses, to_device
from dimvida.training.ranks import Ranks
from dimvida.training.seeds import BatchOrder, derived_seed, seeded
from dimvida.training.state import TrainingState

BATCHES = 4  # in the data set, so that an epoch begins now and then
WARM_UP = 2  # runs of each piece before any is timed
PIECES = ("floor", "step", "draw", "adam", "average")


def measure_step(
    config: TrainConfig,
    name: str,
    batch: int,
    device: torch.device,
    repeats: int,
    progress: Callable[[str], object] = lambda piece: None,
) -> StepTimes:
    """Time a step of a stage and its parts, in turn, on random data.

    Args:
        config: Sizes and settings.
        name: ``autoencoder`` or ``diffusion``.
        batch: Items of a step.
        device: The device that computes.
        repeats: Timed runs of each piece.
        progress: Called after each of them.
    """
    with current(device), seeded(derived_seed(config.seed, "benchmark")):
        stage = _stage(config, name, batch, device)
        works = _pieces(stage)
        for work in works.values():
            for _ in range(WARM_UP):
                work()
        seconds = interleaved(works, repeats, device, progress)
    times = {piece: Spread.of(values).scaled(1000) for piece, values in seconds.items()}
    parameters = sum(weight.numel() for weight in stage.objective.network.parameters())
    return StepTimes(name, parameters, batch, *(times.get(piece) for piece in PIECES))


def runs_of(repeats: int) -> int:
    """Upper bound of how often ``measure_step`` calls ``progress``."""
    return repeats * len(PIECES)


def _pieces(stage: TrainingState) -> dict[str, Callable[[], object]]:
    ranks, objective = Ranks(), stage.objective
    module = loss_module(stage, ranks)
    order = BatchOrder(objective.items, stage.config.batch, stage.seed, objective.name)
    draws = Draws(objective, order, stage.seed, ranks)
    share, drawn = draws.batch(0)
    ready = to_device(drawn, objective.device)

    def floor() -> None:
        stage.optimizer.zero_grad(set_to_none=True)
        module(share, **ready).backward()

    def step() -> None:
        optimise(stage, module, *draws.batch(stage.step))
        if objective.device.type == "cpu":  # as the loop does there
            read_losses(stage, ranks)

    pieces = {
        "floor": floor,
        "step": step,
        "draw": lambda: draws.batch(stage.step),
        "adam": stage.optimizer.step,
    }
    if stage.average is not None:
        pieces["average"] = lambda: stage.average.update_parameters(objective.network)
    return pieces


def _stage(config: TrainConfig, name: str, batch: int, device: torch.device) -> TrainingState:
    settings = getattr(config, f"{name}_stage")
    settings = dataclasses.replace(settings, batch=batch, steps=10**9)
    objective = _objective(config, name, batch * BATCHES, device)
    objective.network.train()
    return TrainingState(objective, settings, config.seed, Path(), "")


def _objective(config: TrainConfig, name: str, items: int, device: torch.device) -> Objective:
    sizes = CheckpointConfig(VIEWS, (), config.autoencoder, config.score)
    autoencoder, score = sizes.build()
    if name == "autoencoder":
        size = config.autoencoder.image_size
        images = torch.randint(256, (items, config.autoencoder.channels, size, size), dtype=torch.uint8)
        return AutoencoderObjective(
            autoencoder.to(device), images, images[:1], config.autoencoder_stage, device, Ranks()
        )
    latents = torch.randn(1, items, len(VIEWS), config.autoencoder.latent_dim)
    schedule = VPSchedule(sizes.beta0, sizes.beta1)
    return DiffusionObjective(
        score.to(device), latents, latents[0, :1], config.diffusion_stage, schedule, device, config.score.prediction
    )
