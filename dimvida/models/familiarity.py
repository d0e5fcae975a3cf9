"""Whether images are of the kind that a model was trained on: its background, and what it can reconstruct."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from dimvida.errors import InputError
from dimvida.models.autoencoder import Autoencoder

QUANTILE = 0.99
IMAGE_CHUNK = 32  # images at a time
TOLERANCE = 8.0
"""Levels by which a border may always be off, as JPEG or another renderer's white are."""
MARGIN = 1.5
"""How far beyond what all but a hundredth of the training images have is no longer familiar."""


@dataclass(frozen=True, slots=True)
class InputStatistics:
    """What the training images of a model look like to it; levels are of 0..255.

    Attributes:
        background: The usual colour of their borders, C levels.
        border: How far a border is from it, in levels; see ``border_deviation``.
        error: How far a reconstruction is from an image, in levels; see ``reconstruction_error``.

    Both are what all but a hundredth of the images stay below.
    """

    background: tuple[float, ...]
    border: float
    error: float

    def __post_init__(self) -> None:
        levels = (*self.background, self.border, self.error)
        if not self.background or not all(math.isfinite(level) and 0 <= level <= 255 for level in levels):
            raise InputError("background, border and error must be levels from 0 to 255")

    def foreign_border(self, images: Tensor) -> Tensor:
        """Which of uint8 [N, C, H, W] have another background than the training images, bool [N] on the host."""
        limit = max(MARGIN * self.border, self.border + TOLERANCE)
        return border_deviation(images, images.new_tensor(self.background, dtype=torch.float32)).cpu() > limit

    def badly_reconstructed(self, images: Tensor, reconstructed: Tensor) -> Tensor:
        """Which of uint8 [N, C, H, W] are much farther from their reconstructions, float in [0, 1], than in training.

        Returns:
            bool [N] on the host.
        """
        return reconstruction_error(images, reconstructed).cpu() > MARGIN * self.error


@torch.no_grad()
def measure_inputs(autoencoder: Autoencoder, images: Tensor) -> InputStatistics:
    """The statistics of training images, uint8 [N, C, H, W], N at least 1."""
    device = next(autoencoder.parameters()).device
    background = _border(images).float().median(2).values.median(0).values  # [C]
    border = border_deviation(images, background).quantile(QUANTILE)
    errors = []
    for part in images.split(IMAGE_CHUNK):
        pixels = part.to(device).float() / 255
        reconstructed = autoencoder.decode(autoencoder.encode(pixels)).clamp(0, 1)
        errors.append(reconstruction_error(part, reconstructed).cpu())
    error = torch.cat(errors).quantile(QUANTILE)
    return InputStatistics(tuple(background.tolist()), round(float(border), 3), round(float(error), 3))


def border_deviation(images: Tensor, background: Tensor) -> Tensor:
    """How far the outermost pixels are from a colour on average, the farthest channel of each, float [N].

    Args:
        images: uint8 [N, C, H, W].
        background: The colour, C levels in 0..255.
    """
    return (_border(images).float() - background[:, None]).abs().amax(1).mean(1)


def reconstruction_error(images: Tensor, reconstructed: Tensor) -> Tensor:
    """Root mean square distance in levels of images, uint8 [N, C, H, W], to float ones in [0, 1], float [N]."""
    error = reconstructed - images.to(reconstructed.device).float() / 255
    return 255 * error.square().flatten(1).mean(1).sqrt()


def _border(images: Tensor) -> Tensor:
    """The outermost pixels of images [N, C, H, W], [N, C, P]; corners count twice."""
    return torch.cat([images[..., 0, :], images[..., -1, :], images[..., :, 0], images[..., :, -1]], dim=-1)
