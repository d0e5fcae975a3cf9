"""Latents of objects and of altered copies of them, and their statistics."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dimvida.errors import InputError
from dimvida.models.autoencoder import Autoencoder

ENCODE_BATCH = 256


@torch.no_grad()
def encode_views(autoencoder: Autoencoder, images: Tensor, present: Tensor, device: torch.device) -> Tensor:
    """Latents float32 [N, V, D] on the CPU of uint8 images [N, V, C, H, W]; 0 where present [N, V] is False."""
    latents = torch.zeros(*present.shape, autoencoder.config.latent_dim)
    parts = present_views(images, present).split(ENCODE_BATCH)
    latents[present] = torch.cat([autoencoder.encode(part.to(device).float() / 255).cpu() for part in parts])
    return latents


def present_views(images: Tensor, present: Tensor) -> Tensor:
    """The present ones of images [N, V, C, H, W], one after another: [n, C, H, W]."""
    return images.flatten(0, 1) if bool(present.all()) else images[present]  # a copy only where it must be one


def latent_statistics(latents: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
    """Per-dimension mean and standard deviation [D] over the present views [N, V] of latents [N, V, D].

    A dimension that never varies gets a standard deviation of 1e-6 instead of 0.
    """
    flat = latents[present].double()
    return flat.mean(0).float(), flat.std(0, correction=0).clamp_min(1e-6).float()


@dataclass(frozen=True, slots=True)
class Variant:
    """An altered copy of objects that is as good an object as they are.

    Attributes:
        channels: The order of the colour channels, the same one in all views of an object.
        mirrored: Whether each image is flipped, and view v exchanged with view V - v.
    """

    channels: tuple[int, ...]
    mirrored: bool = False

    def of(self, images: Tensor) -> Tensor:
        """The altered images, [N, V, C, H, W] like the given ones."""
        images = images[:, :, list(self.channels)]
        return self.views(images).flip(-1) if self.mirrored else images

    def views(self, values: Tensor) -> Tensor:
        """What belongs to the views of the objects, [N, V, ...], put where those views are in the altered copies."""
        views = values.shape[1]
        return values[:, [-view % views for view in range(views)]] if self.mirrored else values


def object_variants(channels: int, *, mirror: bool, recolour: bool) -> list[Variant]:
    """The objects themselves, then their altered copies: 2 (``mirror``) times ``channels``! (``recolour``)."""
    plain = tuple(range(channels))
    orders = itertools.permutations(plain) if recolour else [plain]
    return [Variant(order, mirrored) for order in orders for mirrored in ([False, True] if mirror else [False])]


# Words in names of views, and what they become in a mirror.
_MIRRORED = {"left": "right", "right": "left"} | {word: word for word in ("front", "back", "rear", "top", "bottom")}


def check_mirror(view_names: Sequence[str]) -> None:
    """Whether mirroring may take view V - v for the mirror image of view v, as far as the names tell.

    Left and right are each other's mirror images, also in names such as ``front_left``; front and back are their
    own; other names tell nothing.

    Raises:
        InputError: If the names contradict it.
    """
    for view, name in enumerate(view_names):
        partner = view_names[-view % len(view_names)]
        image = _mirrored_name(name)
        if image is not None and _mirrored_name(partner) is not None and partner.lower() != image:
            raise InputError(
                f"diffusion_stage.mirror: of the views {', '.join(view_names)}, {partner!r} would be taken for the "
                f"mirror image of {name!r}; it needs equal angles all around, such as front, right, back, left; "
                "--set diffusion_stage.mirror=false does without"
            )


def _mirrored_name(name: str) -> str | None:
    words = re.split("([^a-z]+)", name.lower())
    return "".join(_MIRRORED.get(word, word) for word in words) if _MIRRORED.keys() & set(words) else None
