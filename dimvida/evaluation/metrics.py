"""Image metrics, one value per picture."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

CHUNK = 256  # pictures at a time: SSIM makes several copies of each


def psnr(images: Tensor, references: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB.

    Args:
        images: uint8 [N, C, H, W].
        references: The same shape.

    Returns:
        float64 [N]; infinity where two pictures are equal.
    """

    def metric(x: Tensor, y: Tensor) -> Tensor:
        return peak_signal_noise_ratio(x, y, data_range=1.0, reduction="none", dim=(1, 2, 3))

    return _per_picture(metric, images, references)


def ssim(images: Tensor, references: Tensor) -> Tensor:
    """Structural similarity with a Gaussian window of 11 pixels, sigma 1.5.

    Args:
        images: uint8 [N, C, H, W]; H and W at least 11.
        references: The same shape.

    Returns:
        float64 [N], at most 1; accurate to 1e-4, because variances are differences in float32.
    """

    def metric(x: Tensor, y: Tensor) -> Tensor:
        return structural_similarity_index_measure(x, y, data_range=1.0, reduction="none")

    return _per_picture(metric, images, references)


def as_rgb(images: Tensor) -> Tensor:
    """Gray pictures with three equal channels, [N, 3, H, W]: networks that judge pictures expect colours."""
    return images.expand(-1, 3, -1, -1)


def _per_picture(metric: Callable[[Tensor, Tensor], Tensor], images: Tensor, references: Tensor) -> Tensor:
    if images.shape != references.shape or images.ndim != 4:
        raise ValueError(f"expected two times [N, C, H, W], not {list(images.shape)} and {list(references.shape)}")
    chunks = zip(images.split(CHUNK), references.split(CHUNK), strict=True)
    # reshape: a metric of one picture comes back without a dimension.
    values = [metric(x.float() / 255, y.float() / 255).reshape(-1) for x, y in chunks]
    return torch.cat(values).double().cpu()
