"""How far an autoencoder's reconstructions are from the images."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import avg_pool2d

from dimvida.training.stage_config import AutoencoderStageConfig

_WINDOW, _STRIDE = 8, 4
_STABILISERS = 0.01**2, 0.03**2  # C1 and C2 of pixels in [0, 1]


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
