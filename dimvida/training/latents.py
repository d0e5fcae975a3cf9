"""Encoding a data set once: the diffusion trains on cached, standardised latents."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import torch
from torch import Tensor

from dimvida.models.autoencoder import Autoencoder

ENCODE_BATCH = 256


@torch.no_grad()
def encode_views(autoencoder: Autoencoder, images: Tensor, device: torch.device) -> Tensor:
    """Latents float32 [N, V, D] on the CPU of uint8 images [N, V, C, H, W]."""
    flat = images.flatten(0, 1)
    parts = [autoencoder.encode(part.to(device).float() / 255).cpu() for part in flat.split(ENCODE_BATCH)]
    return torch.cat(parts).unflatten(0, images.shape[:2])


def latent_statistics(latents: Tensor) -> tuple[Tensor, Tensor]:
    """Per-dimension mean and standard deviation [D] over objects and views of [N, V, D].

    A dimension that never varies gets a standard deviation of 1e-6 instead of 0.
    """
    flat = latents.flatten(0, 1).double()
    return flat.mean(0).float(), flat.std(0, correction=0).clamp_min(1e-6).float()


def object_variants(images: Tensor, *, mirror: bool, recolour: bool) -> Iterator[Tensor]:
    """The objects themselves, then altered copies that are as good objects as they are.

    Args:
        images: [N, V, C, H, W].
        mirror: Also mirrored: each image flipped, and view v exchanged with view V - v.
        recolour: Also every order of the colour channels, the same one in all views of an object.

    Yields:
        [N, V, C, H, W], 2 (``mirror``) times C! (``recolour``) times; the first is ``images``.
    """
    views, channels = images.shape[1:3]
    orders = itertools.permutations(range(channels)) if recolour else [tuple(range(channels))]
    mirrored_views = [-view % views for view in range(views)]
    for order in orders:
        recoloured = images[:, :, list(order)]
        yield recoloured
        if mirror:
            yield recoloured[:, mirrored_views].flip(-1)
