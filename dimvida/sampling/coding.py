"""Images through an autoencoder and back, in parts that fit."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dimvida.models.autoencoder import Autoencoder

CPU_IMAGES = 32
"""Images that a CPU encodes or decodes at once. Activations of more do not stay in its caches, and need memory that
grows with the batch."""

GPU_IMAGES = 2048
"""Images that a GPU encodes or decodes at once: it is busy with fewer."""

LARGEST_ACTIVATION = 2**29
"""Numbers in one activation at most, which is what 2,048 images of 64 x 64 have in the paper's autoencoder: 2 GiB in
float32, and far from the 2^31 where 32-bit indices end."""


def part_size(autoencoder: Autoencoder, device: torch.device) -> int:
    """Images that go through the autoencoder at once on a device; at least 1."""
    most = CPU_IMAGES if device.type == "cpu" else GPU_IMAGES
    return max(1, min(most, LARGEST_ACTIVATION // autoencoder.largest_activation))


def encode_in_parts(autoencoder: Autoencoder, images: Tensor) -> Tensor:
    """Raw latents float32 [N, D] of images [N, C, H, W], uint8 in 0..255 or float in [0, 1]."""
    dtype = _dtype(autoencoder)
    pixels = images.contiguous(memory_format=torch.channels_last)
    scale = 255 if pixels.dtype == torch.uint8 else 1
    parts = pixels.split(part_size(autoencoder, pixels.device)) if len(pixels) else ()
    raw = [autoencoder.encode((part.float() / scale).to(dtype)).float() for part in parts]
    # Not every layer takes an empty batch.
    return torch.cat(raw) if raw else _empty(pixels, autoencoder.config.latent_dim)


def decode_in_parts(autoencoder: Autoencoder, raw: Tensor) -> tuple[Tensor, Tensor]:
    """Images float32 [N, C, H, W] in [0, 1] of raw latents [N, D], and whether each was finite before the clamp."""
    parts = raw.to(_dtype(autoencoder)).split(part_size(autoencoder, raw.device)) if len(raw) else ()
    images, finite = [], []
    for part in parts:
        made = autoencoder.decode(part).float()
        finite.append(torch.linalg.vector_norm(made, math.inf, dim=(1, 2, 3)).isfinite())
        images.append(made.clamp(0, 1))
    if images:
        return torch.cat(images), torch.cat(finite)
    config = autoencoder.config
    return _empty(raw, config.channels, config.image_size, config.image_size), _empty(raw).bool()


def _dtype(autoencoder: Autoencoder) -> torch.dtype:
    """What it computes in: float32, or what ``.half()`` and the like made of it."""
    return next(autoencoder.parameters()).dtype


def _empty(like: Tensor, *shape: int) -> Tensor:
    return like.new_empty(0, *shape, dtype=torch.float32)
