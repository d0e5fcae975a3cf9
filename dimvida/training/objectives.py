"""What is minimised: the autoencoder's reconstruction and the score network's denoising error.

An objective owns its data and answers: how many items there are, what is drawn for a batch, what its loss is, and
what the validation figures are. The loop knows nothing else.
"""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor, nn
from torchvision.transforms import v2

from dimvida.diffusion.loss import denoising_loss, training_times
from dimvida.diffusion.masking import random_known
from dimvida.diffusion.schedule import VPSchedule
from dimvida.models.autoencoder import Autoencoder
from dimvida.models.score_network import ScoreNetwork
from dimvida.sampling.engine import default_dtype
from dimvida.training.ranks import Ranks, Share
from dimvida.training.reconstruction import reconstruction_loss
from dimvida.training.resident import Items
from dimvida.training.seeds import derived_generator, derived_seed, seeded
from dimvida.training.stage_config import AutoencoderStageConfig, DiffusionStageConfig

VALIDATION_BATCH = 256


class Objective(Protocol):
    """One stage's data and loss."""

    name: str
    network: nn.Module
    items: int
    device: torch.device
    draws_slowly: bool  # so that worker processes should do it

    def draw(self, indices: Tensor, seed: int, step: int, rows: slice) -> dict[str, Tensor]:
        """What the loss needs, on the CPU, of some rows of a batch.

        It depends on the arguments alone. Random numbers are drawn for the whole batch and then cut, so that a row
        gets the same ones however many processes divide the batch.

        Args:
            indices: Items of the whole batch.
            seed: Base seed of the run.
            step: Counted from 0.
            rows: Which of ``indices`` this process computes.
        """
        ...

    def loss(self, share: Share, **batch: Tensor) -> Tensor:
        """Mean loss, a scalar, over the rows that were drawn; ``batch`` is on the device."""
        ...

    def validate(self, network: nn.Module) -> dict[str, float]:
        """Figures on held-out data with the given (averaged) weights; the first is ``loss``."""
        ...


class LossModule(nn.Module):
    """An objective's loss as a module, which is what DistributedDataParallel takes."""

    def __init__(self, objective: Objective) -> None:
        super().__init__()
        self.network = objective.network
        self._objective = objective

    def forward(self, share: Share, **batch: Tensor) -> Tensor:
        return self._objective.loss(share, **batch)


class AutoencoderObjective:
    """Likelihood of the pixels; Laplace in the MLD paper's CUB experiment.

    Args:
        network: The autoencoder to train.
        images: Training images, uint8 [N, C, H, W].
        held_out: Validation images, uint8 [M, C, H, W].
        config: Likelihood, augmentation and latent noise.
        device: Where to compute.
        ranks: The processes that divide the batches.
    """

    name = "autoencoder"

    def __init__(
        self,
        network: Autoencoder,
        images: Tensor,
        held_out: Tensor,
        config: AutoencoderStageConfig,
        device: torch.device,
        ranks: Ranks,
    ) -> None:
        # Convolutions run faster on this layout, on CPUs as on GPUs; the weights are the same.
        self.network = network.to(memory_format=torch.channels_last)
        self.config, self.device, self._ranks = config, device, ranks
        self.held_out, self.items = held_out, len(images)
        self._autocast = config.autocast == "bfloat16" or (
            config.autocast == "auto" and default_dtype(device) == torch.bfloat16
        )
        self._augment = v2.TrivialAugmentWide(fill=255) if config.augment == "trivial-augment-wide" else None
        # Images that are augmented on the host are not needed elsewhere.
        self._images = Items(images, torch.device("cpu") if self._augment else device)
        self.draws_slowly = self._augment is not None or (device.type == "cuda" and not self._images.resident)

    def draw(self, indices: Tensor, seed: int, step: int, rows: slice) -> dict[str, Tensor]:
        batch = {"images": self._images.pick(indices[rows])}
        if self._augment is not None:
            batch["images"] = self._augmented(batch["images"], derived_seed(seed, "autoencoder/augment", step), rows)
        if self.config.recolour:
            generator = derived_generator(seed, "autoencoder/recolour", step)
            batch["orders"] = channel_orders(len(indices), self._images.values.shape[1], generator)[rows]
        if self.config.latent_noise:
            generator = derived_generator(seed, "autoencoder/noise", step)
            batch["noise"] = torch.randn(len(indices), self.network.config.latent_dim, generator=generator)[rows]
        return batch

    def loss(self, share: Share, images: Tensor, orders: Tensor | None = None, noise: Tensor | None = None) -> Tensor:
        images = self._images.take(images)
        if orders is not None:
            images = recoloured(images, orders)
        target = self._pixels(images)
        with self._low_precision():
            latents = self.network.encode(target)
        if noise is not None:
            latents = latents.float()
            spread = self._ranks.deviation(latents, share)
            latents = latents + self.config.latent_noise * spread * noise
        with self._low_precision():
            output = self.network.decode(latents)
        return reconstruction_loss(output.float(), target, self.config)

    def _low_precision(self) -> torch.autocast:
        """Products in bfloat16 where the hardware has it; weights and losses stay in float32."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self._autocast)

    @torch.no_grad()
    def validate(self, network: nn.Module) -> dict[str, float]:
        losses, squares = 0.0, 0.0
        for images in self.held_out.split(VALIDATION_BATCH):
            target = self._pixels(images)
            output = network(target)
            losses += float(reconstruction_loss(output, target, self.config)) * len(images)
            squares += float((output.clamp(0, 1) - target).square().mean()) * len(images)
        count = len(self.held_out)
        return {"loss": losses / count, "psnr": -10 * math.log10(max(squares / count, 1e-12))}

    def _pixels(self, images: Tensor) -> Tensor:
        pixels = images.to(self.device, memory_format=torch.channels_last)
        return pixels.float() / 255

    def _augmented(self, images: Tensor, seed: int, rows: slice) -> Tensor:
        # torchvision draws from the global generator, once per image.
        with seeded(seed) as reseed:
            augmented = []
            for row, image in enumerate(images, rows.start):
                reseed(seed + row)
                augmented.append(self._augment(image))
            return torch.stack(augmented)


def channel_orders(count: int, channels: int, generator: torch.Generator) -> Tensor:
    """Random orders of the colour channels, int64 [count, channels]."""
    return torch.rand(count, channels, generator=generator).argsort(1)


def recoloured(images: Tensor, orders: Tensor) -> Tensor:
    """Images [N, C, H, W] with each one's channels in its order [N, C]."""
    return images[torch.arange(len(images), device=images.device)[:, None], orders]


class DiffusionObjective:
    """The masked multi-time denoising loss over cached, standardised latents.

    Args:
        network: The score network to train.
        latents: Training latents of K variants of every object, float32 [K, N, V, D]; a step takes one variant
            of each of its objects at random.
        held_out: Validation latents, float32 [M, V, D].
        config: Conditioning dropout and time sampling.
        schedule: Forward SDE.
        device: Where to compute.
        prediction: What the network predicts, ``noise`` or ``velocity``.
        present: The views that each variant of a training object has, bool [K, N, V], at least two; by default all.
        held_out_present: Those of held-out objects, bool [M, V].
    """

    name = "diffusion"
    draws_slowly = False

    def __init__(
        self,
        network: ScoreNetwork,
        latents: Tensor,
        held_out: Tensor,
        config: DiffusionStageConfig,
        schedule: VPSchedule,
        device: torch.device,
        prediction: str = "noise",
        present: Tensor | None = None,
        held_out_present: Tensor | None = None,
    ) -> None:
        self.network, self.config, self.schedule, self.device = network, config, schedule, device
        self.prediction = prediction
        self.held_out, self.items = held_out, latents.shape[1]
        self._present = _all_true(latents) if present is None else present
        self._held_out_present = _all_true(held_out) if held_out_present is None else held_out_present
        self._variants = len(latents)
        self._latents = Items(latents.flatten(0, 1), device)  # [K N, V, D]

    def draw(self, indices: Tensor, seed: int, step: int, rows: slice) -> dict[str, Tensor]:
        generator = derived_generator(seed, "diffusion", step)
        variants = torch.randint(self._variants, indices.shape, generator=generator)
        latents = self._latents.pick((variants * self.items + indices)[rows])
        present = self._present[variants, indices]
        conditions = self._conditions(self._latents.values.shape[-1], present, generator)
        return {"latents": latents, **{name: tensor[rows] for name, tensor in conditions.items()}}

    def loss(self, share: Share, latents: Tensor, **conditions: Tensor) -> Tensor:
        return self._denoising_loss(self.network, self._latents.take(latents), **conditions)

    @torch.no_grad()
    def validate(self, network: nn.Module) -> dict[str, float]:
        # The same masks, times and noise each time, so that the curve shows the network alone.
        generator = derived_generator(0, "diffusion/validation")
        total = 0.0
        batches = self.held_out.split(VALIDATION_BATCH), self._held_out_present.split(VALIDATION_BATCH)
        for latents, present in zip(*batches, strict=True):
            conditions = self._conditions(latents.shape[-1], present, generator)
            moved = {name: tensor.to(self.device) for name, tensor in {"latents": latents, **conditions}.items()}
            total += float(self._denoising_loss(network, **moved)) * len(latents)
        return {"loss": total / len(self.held_out)}

    def _conditions(self, latent_dim: int, present: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        """Known views, times and noise of a batch of objects with these views [B, V]."""
        batch, views = present.shape
        return {
            "known": random_known(batch, views, self.config.drop, generator, present),
            "t": training_times(batch, self.schedule, self.config.times, generator),
            "noise": torch.randn(batch, views, latent_dim, generator=generator),
            "present": present,
        }

    def _denoising_loss(
        self, network: nn.Module, latents: Tensor, known: Tensor, t: Tensor, noise: Tensor, present: Tensor
    ) -> Tensor:
        return denoising_loss(network, latents, known, t, noise, self.schedule, self.prediction, present)


def _all_true(latents: Tensor) -> Tensor:
    return torch.ones(latents.shape[:-1], dtype=torch.bool)
