"""Autoencoders: one view in, one latent vector out, and back.

``PoolingAutoencoder`` is the image network of the MLD paper (Bounoua, Franzese, Michiardi, Entropy 26(4):320,
2024, CUB experiment) in its deterministic form. ``GridAutoencoder`` reaches a better reconstruction at a fraction
of the arithmetic, which is what a machine without a GPU can train, and has no dense layers: its latents keep their
places in the image, which is what a transformer over the views needs.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from dimvida.models.config import AnyAutoencoderConfig, AutoencoderConfig, GridAutoencoderConfig

LEAKY_SLOPE = 0.2
RESIDUAL_SCALE = 0.1


class Autoencoder(nn.Module):
    """Base class: ``encode`` maps images to latents, ``decode`` maps latents to images.

    Attributes:
        config: The sizes it was built with.
        encoder, decoder: The two halves.
        largest_activation: Numbers in the largest tensor between its layers, for one image.
    """

    largest_activation: int

    def __init__(self, config: AnyAutoencoderConfig, encoder: nn.Module, decoder: nn.Module) -> None:
        super().__init__()
        self.config = config
        self.encoder = encoder
        self.decoder = decoder

    def encode(self, images: Tensor) -> Tensor:
        """Images [N, C, H, W] in [0, 1] to latents [N, D]."""
        return self.encoder(images)

    def decode(self, latents: Tensor) -> Tensor:
        """Latents [N, D] to images [N, C, H, W]; in [0, 1] up to the network's error, not clamped."""
        return self.decoder(latents)

    def forward(self, images: Tensor) -> Tensor:
        """Reconstructions [N, C, H, W] of images [N, C, H, W]."""
        return self.decode(self.encode(images))


class PoolingResidual(nn.Module):
    """shortcut(x) + 0.1 * conv(leaky(conv(leaky(x)))), hidden width min(in, out)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        hidden = min(in_channels, out_channels)
        self.conv1 = nn.Conv2d(in_channels, hidden, 3, padding=1)
        self.conv2 = nn.Conv2d(hidden, out_channels, 3, padding=1)
        same = in_channels == out_channels
        self.shortcut = nn.Identity() if same else nn.Conv2d(in_channels, out_channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        u = self.conv1(functional.leaky_relu(x, LEAKY_SLOPE))
        u = self.conv2(functional.leaky_relu(u, LEAKY_SLOPE))
        return self.shortcut(x) + RESIDUAL_SCALE * u


class PoolingAutoencoder(Autoencoder):
    """The published autoencoder: base 64 and 64x64 images give 4.86 M + 4.93 M parameters."""

    def __init__(self, config: AutoencoderConfig) -> None:
        base, size = config.base, config.image_size // 4
        encoder = nn.Sequential(
            nn.Conv2d(config.channels, base, 3, padding=1),
            PoolingResidual(base, base),
            nn.AvgPool2d(3, stride=2, padding=1),
            PoolingResidual(base, 2 * base),
            nn.AvgPool2d(3, stride=2, padding=1),
            PoolingResidual(2 * base, 4 * base),
            nn.Flatten(),
            nn.Linear(4 * base * size * size, config.latent_dim),
        )
        decoder = nn.Sequential(
            nn.Linear(config.latent_dim, 4 * base * size * size),
            nn.Unflatten(1, (4 * base, size, size)),
            PoolingResidual(4 * base, 2 * base),
            nn.Upsample(scale_factor=2),
            PoolingResidual(2 * base, base),
            nn.Upsample(scale_factor=2),
            PoolingResidual(base, base),
            nn.LeakyReLU(LEAKY_SLOPE),
            nn.Conv2d(base, config.channels, 3, padding=1),
        )
        super().__init__(config, encoder, decoder)
        self.largest_activation = max(base, config.channels) * config.image_size**2  # at full resolution


class GridResidual(nn.Module):
    """x + conv(SiLU(GN(conv(SiLU(GN(x)))))), group norm over groups of 8 channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        groups = max(1, channels // 8)
        self.norm1 = nn.GroupNorm(groups, channels)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm2 = nn.GroupNorm(groups, channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        u = self.conv1(functional.silu(self.norm1(x)))
        return x + self.conv2(functional.silu(self.norm2(u)))


class GridAutoencoder(Autoencoder):
    """Residual blocks at a quarter and an eighth of the resolution, between pixel (un)shuffles.

    No arithmetic is spent at full resolution: a pixel-unshuffle by 4 moves each 4x4 patch into channels. A latent is a
    grid [c, n, n], flattened to [D]; a number of it tells of its place in the image alone, as far as the convolutions
    reach. The decoder has a residual block more at an eighth of the resolution, since no dense layer carries anything
    from one place to another.
    """

    def __init__(self, config: GridAutoencoderConfig) -> None:
        wide = 2 * config.base
        encoder = nn.Sequential(*_into_patches(config), nn.Conv2d(wide, config.latent_channels, 1), nn.Flatten())
        decoder = nn.Sequential(
            nn.Unflatten(1, config.latent_shape),
            nn.Conv2d(config.latent_channels, wide, 3, padding=1),
            GridResidual(wide),
            *_out_of_patches(config),
        )
        super().__init__(config, encoder, decoder)
        self.largest_activation = _largest_patch_activation(config)


def _into_patches(config: AnyAutoencoderConfig) -> list[nn.Module]:
    """Layers from images [N, C, H, W] to [N, 2 base, H / 8, W / 8]."""
    base, wide = config.base, 2 * config.base
    return [
        nn.PixelUnshuffle(4),
        nn.Conv2d(16 * config.channels, base, 3, padding=1),
        *(GridResidual(base) for _ in range(config.depth)),
        nn.PixelUnshuffle(2),
        nn.Conv2d(4 * base, wide, 1),
        *(GridResidual(wide) for _ in range(config.depth)),
    ]


def _out_of_patches(config: AnyAutoencoderConfig) -> list[nn.Module]:
    """Layers from [N, 2 base, H / 8, W / 8] back to images."""
    base, wide = config.base, 2 * config.base
    return [
        *(GridResidual(wide) for _ in range(config.depth)),
        nn.Conv2d(wide, 4 * base, 1),
        nn.PixelShuffle(2),
        *(GridResidual(base) for _ in range(config.depth)),
        nn.SiLU(),
        nn.Conv2d(base, 16 * config.channels, 3, padding=1),
        nn.PixelShuffle(4),
    ]


def _largest_patch_activation(config: AnyAutoencoderConfig) -> int:
    """The image itself, or what stands at a quarter of its resolution."""
    return max(config.channels * config.image_size**2, config.base * (config.image_size // 4) ** 2)


def build_autoencoder(config: AnyAutoencoderConfig) -> Autoencoder:
    """A freshly initialised autoencoder of ``config.kind``."""
    return {"pooling": PoolingAutoencoder, "grid": GridAutoencoder}[config.kind](config)
