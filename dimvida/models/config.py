"""Sizes of the two networks, as they stand in a checkpoint's ``config.json``."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from dimvida.errors import InputError

AUTOENCODER_KINDS = ("pooling", "patch")
PREDICTIONS = ("noise", "velocity")
LARGEST = 2**31 - 1
"""Of any size: what has more does not fit into an index."""
DEEPEST = 1000
"""Most residual blocks of a stage."""


@dataclass(frozen=True, slots=True)
class AutoencoderConfig:
    """Sizes of an autoencoder.

    Attributes:
        kind: ``pooling`` is the published network (pooling encoder, upsampling decoder); ``patch`` works on
            pixel-unshuffled images and gives a better reconstruction per FLOP.
        image_size: Height and width in pixels; a multiple of 4 (``pooling``) or 8 (``patch``).
        channels: Image channels.
        latent_dim: Size D of one view's latent.
        base: Channels of the first stage.
        depth: Residual blocks per stage; ``patch`` only.
    """

    kind: str = "pooling"
    image_size: int = 64
    channels: int = 3
    latent_dim: int = 64
    base: int = 64
    depth: int = 1

    def __post_init__(self) -> None:
        if self.kind not in AUTOENCODER_KINDS:
            raise InputError(f"autoencoder kind {self.kind!r}: choose from {', '.join(AUTOENCODER_KINDS)}")
        require_positive(self)
        if self.depth > DEEPEST:
            raise InputError(f"depth must be at most {DEEPEST}, not {self.depth}")
        if self.kind == "patch" and self.base % 8:
            raise InputError(f"base {self.base}: the patch autoencoder needs a multiple of 8")
        multiple = 4 if self.kind == "pooling" else 8
        if self.image_size % multiple:
            raise InputError(
                f"image_size {self.image_size}: the {self.kind} autoencoder needs a multiple of {multiple}"
            )


@dataclass(frozen=True, slots=True)
class ScoreConfig:
    """Sizes of a score network.

    Attributes:
        width: Hidden width W; a multiple of ``groups``.
        time_dim: Width T of the multi-time embedding.
        groups: Groups of every group norm.
        prediction: What the network's output means, see ``dimvida.diffusion.prediction``.
    """

    width: int = 1536
    time_dim: int = 512
    groups: int = 32
    prediction: str = "noise"

    def __post_init__(self) -> None:
        require_positive(self)
        if self.prediction not in PREDICTIONS:
            raise InputError(f"prediction {self.prediction!r}: choose from {', '.join(PREDICTIONS)}")
        if self.width % self.groups:
            raise InputError(f"width {self.width} is not a multiple of groups {self.groups}")


def require_positive(config: Any) -> None:
    """Raise InputError unless every integer field of a dataclass is at least 1 and at most ``LARGEST``."""
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if isinstance(value, int) and value < 1:
            raise InputError(f"{field.name} must be at least 1, not {value}")
        if isinstance(value, int) and value > LARGEST:
            raise InputError(f"{field.name} must be at most {LARGEST}")
