"""What is minimised: the autoencoder's reconstruction and the score network's denoising error.

An objective owns its data and answers three questions: how many items there are, what the loss of a batch
is, and what the validation figures are. The loop knows nothing else.
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
from dimvida.training.config import AutoencoderStageConfig, DiffusionStageConfig
from dimvida.training.seeds import derived_generator, derived_seed, seeded

VALIDATION_BATCH = 256


class Objective(Protocol):
    """One stage's data and loss."""

    name: str
    network: nn.Module
    items: int

    def loss(self, indices: Tensor, seed: int, step: int) -> Tensor:
        """Scalar loss of the items at ``indices``; randomness depends on seed and step alone."""
        ...

    def validate(self, network: nn.Module) -> dict[str, float]:
        """Figures on held-out data with the given (averaged) weights; the first is ``loss``."""
        ...


class AutoencoderObjective:
    """Likelihood of the pixels; Laplace in the MLD paper's CUB experiment.

    Args:
        network: The autoencoder to train.
        images: Training images, uint8 [N, C, H, W].
        held_out: Validation images, uint8 [M, C, H, W].
        config: Likelihood, augmentation and latent noise.
        device: Where to compute.
    """

    name = "autoencoder"

    def __init__(
        self,
        network: Autoencoder,
        images: Tensor,
        held_out: Tensor,
        config: AutoencoderStageConfig,
        device: torch.device,
    ) -> None:
        # Convolutions run faster on this layout, on CPUs as on GPUs; the weights are the same.
        self.network = network.to(memory_format=torch.channels_last)
        self.config, self.device = config, device
        self.images, self.held_out = images, held_out
        self.items = len(images)
        self._augment = v2.TrivialAugmentWide(fill=255) if config.augment == "trivial-augment-wide" else None

    def loss(self, indices: Tensor, seed: int, step: int) -> Tensor:
        images = self.images[indices]
        if self._augment is not None:
            images = self._augmented(images, derived_seed(seed, "autoencoder/augment", step))
        if self.config.recolour:
            images = recoloured(images, derived_generator(seed, "autoencoder/recolour", step))
        target = self._pixels(images)
        latents = self.network.encode(target)
        if self.config.latent_noise:
            generator = derived_generator(seed, "autoencoder/noise", step)
            noise = torch.randn(latents.shape, generator=generator).to(self.device)
            spread = latents.detach().std(0, correction=0)
            latents = latents + self.config.latent_noise * spread * noise
        return reconstruction_loss(self.network.decode(latents), target, self.config)

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

    def _augmented(self, images: Tensor, seed: int) -> Tensor:
        # torchvision draws from the global generator, once per image.
        with seeded(seed):
            return torch.stack([self._augment(image) for image in images])


def reconstruction_loss(output: Tensor, target: Tensor, config: AutoencoderStageConfig) -> Tensor:
    """Negative log likelihood of images [N, C, H, W] without its constant: summed over pixels, averaged over N."""
    error = (output - target) / config.scale
    loss = _neg_log_likelihood(error, config.likelihood)
    if config.chroma_weight:
        chroma = error - error.mean(1, keepdim=True)
        loss = loss + config.chroma_weight * _neg_log_likelihood(chroma, config.likelihood)
    return loss / len(target)


def _neg_log_likelihood(error: Tensor, likelihood: str) -> Tensor:
    return error.abs().sum() if likelihood == "laplace" else error.square().sum() / 2


def recoloured(images: Tensor, generator: torch.Generator) -> Tensor:
    """Images [N, C, H, W] with each one's channels in a random order."""
    count, channels = images.shape[:2]
    order = torch.rand(count, channels, generator=generator).argsort(1)
    return images[torch.arange(count)[:, None], order]


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
    """

    name = "diffusion"

    def __init__(
        self,
        network: ScoreNetwork,
        latents: Tensor,
        held_out: Tensor,
        config: DiffusionStageConfig,
        schedule: VPSchedule,
        device: torch.device,
        prediction: str = "noise",
    ) -> None:
        self.network, self.config, self.schedule, self.device = network, config, schedule, device
        self.prediction = prediction
        self.latents, self.held_out = latents, held_out
        self.items = latents.shape[1]

    def loss(self, indices: Tensor, seed: int, step: int) -> Tensor:
        generator = derived_generator(seed, "diffusion", step)
        variants = torch.randint(len(self.latents), indices.shape, generator=generator)
        return self._batch_loss(self.network, self.latents[variants, indices], generator)

    @torch.no_grad()
    def validate(self, network: nn.Module) -> dict[str, float]:
        # The same masks, times and noise each time, so that the curve shows the network alone.
        generator = derived_generator(0, "diffusion/validation")
        total = 0.0
        for latents in self.held_out.split(VALIDATION_BATCH):
            total += float(self._batch_loss(network, latents, generator)) * len(latents)
        return {"loss": total / len(self.held_out)}

    def _batch_loss(self, network: nn.Module, latents: Tensor, generator: torch.Generator) -> Tensor:
        batch, views, _ = latents.shape
        known = random_known(batch, views, self.config.drop, generator)
        t = training_times(batch, self.schedule, self.config.times, generator)
        noise = torch.randn(latents.shape, generator=generator)
        moved = [tensor.to(self.device) for tensor in (latents, known, t, noise)]
        return denoising_loss(network, *moved, self.schedule, self.prediction)
