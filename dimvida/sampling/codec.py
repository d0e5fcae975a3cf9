"""Images to standardised latents and back, the autoencoder's half of a model: by its layers, or by a plan, which is
made at the first use, made anew once weights have changed, and run in parts that fit."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor, nn

from dimvida import ops
from dimvida.models.autoencoder import (
    Autoencoder,
    GridAutoencoder,
    GridResidual,
    PoolingAutoencoder,
    PoolingResidual,
)
from dimvida.models.checkpoint import Checkpoint
from dimvida.models.config import AnyAutoencoderConfig
from dimvida.ops.convolutions import MOST_CHANNELS
from dimvida.sampling.backends import in_plain_modes
from dimvida.sampling.fused_autoencoder import Decoder, Encoder, Half
from dimvida.sampling.images import (
    decode_in_parts,
    encode_in_parts,
    part_size,
    require_images,
    require_latents,
    require_rows,
)
from dimvida.sampling.weights_copy import CurrentCopy, PerNetwork, has_only, made_of

T = TypeVar("T")

CPU_BYTES = 2**24
"""Bytes of the largest activation that a CPU works on at once: convolutions of more are a fifth slower, since they come
from memory and not from its caches."""

_LAYERS = (
    *(PoolingAutoencoder, GridAutoencoder, PoolingResidual, GridResidual),
    *(nn.Sequential, nn.Conv2d, nn.Linear, nn.GroupNorm, nn.LeakyReLU, nn.SiLU, nn.Identity),
    *(nn.AvgPool2d, nn.Upsample, nn.PixelShuffle, nn.PixelUnshuffle, nn.Flatten, nn.Unflatten),
)


def has_plan(autoencoder: nn.Module) -> bool:
    """Whether a plan can compute an autoencoder: its weights, in float32, are all that there is to it."""
    return (
        has_only(autoencoder, _LAYERS)
        and made_of(autoencoder) == _as_built(type(autoencoder), autoencoder.config)
        and all(parameter.dtype == torch.float32 for parameter in autoencoder.parameters())
        and 4 * autoencoder.config.base <= MOST_CHANNELS
    )


@functools.cache
def _as_built(kind: type[Autoencoder], config: AnyAutoencoderConfig) -> list[tuple[str, type, str]]:
    with torch.device("meta"):
        return made_of(kind(config))


class AutoencoderPlan:
    """Encodes and decodes with an autoencoder in one dtype. Any number of threads may: weights are only read.

    Args:
        dtype: What is multiplied in: float32, bfloat16 or float16.

    Attributes:
        builds: How often ``encoder`` and ``decoder`` were laid out.
    """

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype
        self.builds: Counter[str] = Counter()
        # Without a reference to the plan: in a circle its memory would stay until the collector comes by.
        self._encoder = CurrentCopy(partial(_lay_out, Encoder, dtype), partial(self.builds.update, ["encoder"]))
        self._decoder = CurrentCopy(partial(_lay_out, Decoder, dtype), partial(self.builds.update, ["decoder"]))

    def encode(self, autoencoder: Autoencoder, mean: Tensor, std: Tensor, images: Tensor) -> Tensor:
        """Bytes, uint8 [N, C, H, W], to latents that are standardised by mean and std, float32 [N, D]."""
        encoder = self._encoder.use(Half(autoencoder.encoder, mean, std), lambda encoder: encoder)
        made = [encoder(part) for part in self._parts(autoencoder, images)]
        return torch.cat(made) if made else mean.new_empty(0, len(mean), dtype=torch.float32)

    def decode(self, autoencoder: Autoencoder, mean: Tensor, std: Tensor, latents: Tensor) -> tuple[Tensor, Tensor]:
        """Standardised latents [N, D] to bytes, uint8 [N, H, W, C], and which images were finite, bool [N]."""
        decoder = self._decoder.use(Half(autoencoder.decoder, mean, std), lambda decoder: decoder)
        channels, height, width = autoencoder.config.image_shape
        images = torch.empty((len(latents), height, width, channels), dtype=torch.uint8, device=latents.device)
        finite = torch.empty(len(latents), dtype=torch.bool, device=latents.device)
        start = 0
        for part in self._parts(autoencoder, latents):
            end = start + len(part)
            decoder(part, images[start:end], finite[start:end])
            start = end
        return images, finite

    def _parts(self, autoencoder: Autoencoder, rows: Tensor) -> tuple[Tensor, ...]:
        if not len(rows):
            return ()
        size = part_size(autoencoder, rows.device)
        if rows.device.type == "cpu":
            size = max(1, min(size, CPU_BYTES // (autoencoder.largest_activation * self.dtype.itemsize)))
        return rows.split(size)


def _lay_out(form: Callable[[Half, torch.dtype], T], dtype: torch.dtype, half: Half) -> T:
    return form(half, dtype)


_PLANS = PerNetwork(AutoencoderPlan)


def plan_of(autoencoder: Autoencoder, dtype: torch.dtype, device: torch.device) -> AutoencoderPlan:
    """The plan of an autoencoder, made on first use; the same one for every thread."""
    return _PLANS.of(autoencoder, dtype, device)


class LatentCodec(nn.Module):
    """An autoencoder whose latents are standardised by those of the training data.

    Attributes:
        config: The checkpoint's configuration.
        checkpoint_hash: SHA-256 over the checkpoint's files, hex.
    """

    latent_mean: Tensor
    latent_std: Tensor

    def __init__(self, checkpoint: Checkpoint) -> None:
        super().__init__()
        self.config = checkpoint.config
        self.checkpoint_hash = checkpoint.digest
        # Convolutions run faster on this layout, on CPUs as on GPUs; the weights are the same.
        self.autoencoder = checkpoint.autoencoder.to(memory_format=torch.channels_last)
        self.register_buffer("latent_mean", checkpoint.latent_mean)
        self.register_buffer("latent_std", checkpoint.latent_std)

    @property
    def image_size(self) -> int:
        """Height and width of an image in pixels."""
        return self.config.autoencoder.image_size

    @property
    def channels(self) -> int:
        """Channels C of an image: 3 for RGB, 1 for gray."""
        return self.config.autoencoder.channels

    @property
    def view_names(self) -> tuple[str, ...]:
        """Names of the V views, in the order of every [B, V, ...] tensor."""
        return self.config.view_names

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes of the training data; may be empty."""
        return self.config.classes

    @property
    def cameras(self) -> tuple[tuple[float, float], ...] | None:
        """Azimuth and elevation of each named view in degrees; None of a model that knows its views by name alone."""
        return self.config.cameras

    @property
    def trained_cameras(self) -> tuple[tuple[float, float], ...] | None:
        """Those of all views that it was trained on, which may be more than have names; None as ``cameras``."""
        return self.config.trained_cameras or self.config.cameras

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.latent_mean.device

    @in_plain_modes
    def encode(self, images: Tensor) -> Tensor:
        """Standardised latents of images, by the layers of the autoencoder.

        Args:
            images: [..., C, H, W], uint8 in 0..255 or float in [0, 1].

        Returns:
            float32 [..., D]; the leading dimensions are those of ``images``, also none or empty ones.

        Raises:
            TypeError: ``images`` is no tensor.
            ValueError: ``images`` has another shape or dtype.
            NotFinite: Numbers overflow; its rows count along the first dimension.
        """
        shape = self.config.autoencoder.image_shape
        require_images(images, shape)
        latents = self._encode(images.to(self.device).reshape(-1, *shape))
        latents = latents.reshape(*images.shape[:-3], latents.shape[-1])
        require_rows("latents", latents.isfinite().all(-1))
        return latents

    @in_plain_modes
    def decode(self, latents: Tensor) -> Tensor:
        """Images of standardised latents, by the layers of the autoencoder.

        Args:
            latents: float [..., D].

        Returns:
            float32 [..., C, H, W] in [0, 1]; the leading dimensions are those of ``latents``, also none or empty ones.

        Raises:
            TypeError: ``latents`` is no tensor.
            ValueError: ``latents`` has another shape or dtype.
            NotFinite: Numbers overflow; its rows count along the first dimension.
        """
        dim = self.config.autoencoder.latent_dim
        require_latents(latents, dim)
        images, finite = self._decode(latents.to(self.device).reshape(-1, dim))
        require_rows("images", finite.reshape(latents.shape[:-1]))
        return images.reshape(*latents.shape[:-1], *self.config.autoencoder.image_shape)

    def encode_bytes(self, images: Tensor, dtype: torch.dtype | None) -> Tensor:
        """Standardised latents, float32 [N, D], of uint8 images [N, C, H, W], which are on the model's device.

        ``dtype`` is what the autoencoder's plan multiplies in; None asks its layers themselves, which also serve where
        there is no plan: with hooks, layers of other kinds, or weights in another dtype.
        """
        if dtype is None or not has_plan(self.autoencoder):
            return self._encode(images)
        plan = plan_of(self.autoencoder, dtype, self.device)
        return plan.encode(self.autoencoder, self.latent_mean, self.latent_std, images)

    def decode_bytes(self, latents: Tensor, dtype: torch.dtype | None) -> tuple[Tensor, Tensor]:
        """The other way: uint8 [N, H, W, C] of standardised latents [N, D], and which were finite, bool [N]."""
        if dtype is None or not has_plan(self.autoencoder):
            images, finite = self._decode(latents)
            return (ops.reference if dtype is None else ops).pack_images(images), finite
        plan = plan_of(self.autoencoder, dtype, self.device)
        return plan.decode(self.autoencoder, self.latent_mean, self.latent_std, latents)

    def _encode(self, images: Tensor) -> Tensor:
        """Images [N, C, H, W] to standardised latents, float32 [N, D]."""
        return (encode_in_parts(self.autoencoder, images) - self.latent_mean.float()) / self.latent_std.float()

    def _decode(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """Standardised latents [N, D] to images, float32 [N, C, H, W] in [0, 1], and which were finite, bool [N]."""
        raw = latents.float() * self.latent_std.float() + self.latent_mean.float()
        return decode_in_parts(self.autoencoder, raw)
