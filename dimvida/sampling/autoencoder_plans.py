"""The plans of autoencoders: made at the first use, made anew once weights have changed, and run in parts that fit."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from dimvida.models.autoencoder import (
    Autoencoder,
    GridAutoencoder,
    GridResidual,
    PoolingAutoencoder,
    PoolingResidual,
)
from dimvida.models.config import AnyAutoencoderConfig
from dimvida.ops.convolutions import MOST_CHANNELS
from dimvida.sampling.fused_autoencoder import Decoder, Encoder, Half
from dimvida.sampling.images import part_size
from dimvida.sampling.weights_copy import WeightsCopy, has_only, made_of

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
        builds: How often a half was laid out.
    """

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype
        self.builds = 0
        self._lock = threading.Lock()
        self._copies: dict[type, WeightsCopy] = {}

    def encode(self, autoencoder: Autoencoder, mean: Tensor, std: Tensor, images: Tensor) -> Tensor:
        """Bytes, uint8 [N, C, H, W], to latents that are standardised by mean and std, float32 [N, D]."""
        encoder = self._half(Encoder, Half(autoencoder.encoder, mean, std))
        made = [encoder(part) for part in self._parts(autoencoder, images)]
        return torch.cat(made) if made else mean.new_empty(0, len(mean), dtype=torch.float32)

    def decode(self, autoencoder: Autoencoder, mean: Tensor, std: Tensor, latents: Tensor) -> tuple[Tensor, Tensor]:
        """Standardised latents [N, D] to bytes, uint8 [N, H, W, C], and which images were finite, bool [N]."""
        decoder = self._half(Decoder, Half(autoencoder.decoder, mean, std))
        channels, height, width = autoencoder.config.image_shape
        images = torch.empty((len(latents), height, width, channels), dtype=torch.uint8, device=latents.device)
        finite = torch.empty(len(latents), dtype=torch.bool, device=latents.device)
        start = 0
        for part in self._parts(autoencoder, latents):
            end = start + len(part)
            decoder(part, images[start:end], finite[start:end])
            start = end
        return images, finite

    def _half(self, form: Callable[[Half, torch.dtype], object], half: Half):
        """The layout of the half's present weights."""
        copy = self._copies.get(form)
        if copy is None or not copy.comparison(half)():
            with self._lock:
                if self._copies.get(form) is copy or not self._copies[form].comparison(half)():
                    self._copies[form] = WeightsCopy(half, lambda own: form(own, self.dtype))
                    self.builds += 1
                copy = self._copies[form]
        return copy.fused

    def _parts(self, autoencoder: Autoencoder, rows: Tensor) -> tuple[Tensor, ...]:
        if not len(rows):
            return ()
        size = part_size(autoencoder, rows.device)
        if rows.device.type == "cpu":
            size = max(1, min(size, CPU_BYTES // (autoencoder.largest_activation * self.dtype.itemsize)))
        return rows.split(size)


# Made on first use and kept as long as the autoencoder lives. A cache, not a setting: it changes no result.
_PLANS: WeakKeyDictionary[nn.Module, dict[tuple[torch.dtype, torch.device], AutoencoderPlan]] = WeakKeyDictionary()
_LOCK = threading.Lock()


def plan_of(autoencoder: Autoencoder, dtype: torch.dtype, device: torch.device) -> AutoencoderPlan:
    """The plan of an autoencoder, made on first use; the same one for every thread."""
    with _LOCK:
        return _PLANS.setdefault(autoencoder, {}).setdefault((dtype, device), AutoencoderPlan(dtype))


def _forget_plans() -> None:
    global _LOCK
    _LOCK = threading.Lock()
    _PLANS.clear()


# A forked process has none of the threads that may have held a lock, and would wait for them for ever.
os.register_at_fork(after_in_child=_forget_plans)
