"""Metrics of one picture beside the true one that need no network, each a function under ``picture_metric``."""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import Tensor
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

BACKGROUND = 0.1  # of the range of a channel: what differs by more from the background is the object
CHUNK = 256  # pictures at a time: SSIM makes several copies of each

PictureMetric = Callable[[Tensor, Tensor], Tensor]
"""A function of generated and true pictures, uint8 [N, C, H, W] each, that gives float64 [N]."""

PICTURE_METRICS: dict[str, tuple[PictureMetric, int]] = {}
"""Those that need no network, by name, with the window that a picture must hold, in pixels; see ``picture_metric``."""


def picture_metric(window: int = 1) -> Callable[[PictureMetric], PictureMetric]:
    """Make a function of float32 pictures in 0..1 a metric of its name, of uint8 pictures, some of them at a time.

    Args:
        window: Pixels of a picture's edge that it needs at least.
    """

    def declare(metric: PictureMetric) -> PictureMetric:
        @functools.wraps(metric)
        def of_bytes(images: Tensor, references: Tensor) -> Tensor:
            if images.shape != references.shape or images.ndim != 4:
                raise ValueError(f"expected two times [N, C, H, W], not {[*images.shape]} and {[*references.shape]}")
            chunks = zip(images.split(CHUNK), references.split(CHUNK), strict=True)
            # reshape: a metric of one picture comes back without a dimension.
            values = [metric(x.float() / 255, y.float() / 255).reshape(-1) for x, y in chunks]
            return torch.cat(values).double().cpu()

        PICTURE_METRICS[metric.__name__] = of_bytes, window
        return of_bytes

    return declare


@picture_metric()
def psnr(images: Tensor, references: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB.

    Args:
        images: uint8 [N, C, H, W].
        references: The same shape.

    Returns:
        float64 [N]; infinity where two pictures are equal.
    """
    return peak_signal_noise_ratio(images, references, data_range=1.0, reduction="none", dim=(1, 2, 3))


@picture_metric(window=11)
def ssim(images: Tensor, references: Tensor) -> Tensor:
    """Structural similarity with a Gaussian window of 11 pixels, sigma 1.5.

    Args:
        images: uint8 [N, C, H, W]; H and W at least 11.
        references: The same shape.

    Returns:
        float64 [N], at most 1; accurate to 1e-4, because variances are differences in float32.
    """
    return structural_similarity_index_measure(images, references, data_range=1.0, reduction="none")


@picture_metric()
def colour(images: Tensor, references: Tensor) -> Tensor:
    """Squared difference of mean colours, whose root mean over pictures is what is reported.

    The mean is over the pixels of each picture that are not background: some channel differs from the median colour of
    the true picture's border by more than a tenth of the range. Where there are none it is the background's colour.

    Args:
        images: uint8 [N, C, H, W].
        references: The same shape.

    Returns:
        float64 [N], the mean over channels in squares of their range.
    """
    edges = references[:, :, 0], references[:, :, -1], references[:, :, :, 0], references[:, :, :, -1]
    background = torch.cat(edges, -1).median(-1).values[..., None, None]
    return (_mean_colour(images, background) - _mean_colour(references, background)).square().mean(1)


def _mean_colour(images: Tensor, background: Tensor) -> Tensor:
    """Mean [N, C] of the pixels of [N, C, H, W] that are not background [N, C, 1, 1]."""
    apart = images - background
    is_object = (apart.abs().amax(1, keepdim=True) > BACKGROUND).to(images)
    return background.flatten(1) + (apart * is_object).sum((2, 3)) / is_object.sum((2, 3)).clamp_min(1)
