"""What the autoencoder minimises: the distance of its reconstructions from the images."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d
from torchvision.transforms import v2

from dimvida.models.autoencoder import Autoencoder
from dimvida.training.batches import VALIDATION_BATCH, CachedRows, product_dtype
from dimvida.training.ranks import Ranks, Share
from dimvida.training.seeds import derived_generator, derived_seed, seeded
from dimvida.training.stage_config import AutoencoderStageConfig

_WINDOW, _STRIDE = 8, 4
_STABILISERS = 0.01**2, 0.03**2  # C1 and C2 of pixels in [0, 1]


class AutoencoderObjective:
    """Likelihood of the pixels; Laplace in the MLD paper's CUB experiment.

    Args:
        network: The autoencoder to train.
        images: Training images, uint8 [N, C, H, W].
        held_out: Validation images, uint8 [M, C, H, W].
        config: Likelihood, augmentation and latent noise.
        device: The device that computes.
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
        self._autocast = product_dtype(config.autocast, device) == torch.bfloat16
        self._augment = v2.TrivialAugmentWide(fill=255) if config.augment == "trivial-augment-wide" else None
        # Images that are augmented on the host are not needed elsewhere.
        self._images = CachedRows(images, torch.device("cpu") if self._augment else device)
        self.draws_slowly = self._augment is not None or (device.type == "cuda" and not self._images.resident)

    def draw(self, indices: Tensor, seed: int, step: int, rows: slice) -> dict[str, Tensor]:
        batch = {"images": self._images.for_batch(indices[rows])}
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
        images = self._images.on_device(images)
        if orders is not None:
            images = recoloured(images, orders)
        target = self._pixels(images)
        with self._low_precision():
            latents = self.network.encode(target)
        if noise is not None:
            shape = self.network.config.latent_shape
            latents = latents.float().unflatten(1, shape)
            spread = self._ranks.deviation(latents, share)
            latents = (latents + self.config.latent_noise * spread * noise.unflatten(1, shape)).flatten(1)
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


def reconstruction_loss(output: Tensor, target: Tensor, config: AutoencoderStageConfig) -> Tensor:
    """Negative log likelihood without its constant, and the terms beside it that ``config`` weighs.

    Args:
        output: Reconstructions, [N, C, H, W].
        target: Images, [N, C, H, W] in [0, 1].
        config: Likelihood, its scale, ``chroma_weight`` and ``ssim_weight``.

    Returns:
        A scalar: summed over pixels, averaged over images.
    """
    error = (output - target) / config.scale
    loss = _neg_log_likelihood(error, config.likelihood)
    if config.chroma_weight:
        chroma = error - error.mean(1, keepdim=True)
        loss = loss + config.chroma_weight * _neg_log_likelihood(chroma, config.likelihood)
    if config.ssim_weight:
        loss = loss + config.ssim_weight * (1 - windowed_ssim(output, target)).sum()
    return loss / len(target)


def windowed_ssim(x: Tensor, y: Tensor) -> Tensor:
    """Structural similarity over overlapping windows of 8 x 8 pixels, every fourth in either direction.

    Wang et al. 2004, equation 13, with a uniform window in place of the Gaussian and fewer places of it: as a term of
    a loss it costs a tenth of that. The metric of evaluations is torchmetrics'.

    Args:
        x: Images, [N, C, H, W], pixels in [0, 1].
        y: Others of the same shape.

    Returns:
        [N], at most 1.
    """
    window = min(_WINDOW, *x.shape[-2:])
    # Pooling is twice as fast on this layout as on that of the convolutions.
    x, y = x.contiguous(), y.contiguous()
    mean_x, mean_y, xx, yy, xy = (avg_pool2d(values, window, _STRIDE) for values in (x, y, x * x, y * y, x * y))
    c1, c2 = _STABILISERS
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    structure = (2 * (xy - mean_x * mean_y) + c2) / (xx - mean_x**2 + yy - mean_y**2 + c2)
    return (luminance * structure).mean((1, 2, 3))


def _neg_log_likelihood(error: Tensor, likelihood: str) -> Tensor:
    return error.abs().sum() if likelihood == "laplace" else error.square().sum() / 2
