"""Sizes of the two networks, as they stand in a checkpoint's ``config.json``."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, TypeVar

from dimvida.errors import InputError

AUTOENCODER_KINDS = ("pooling", "patch")
PREDICTIONS = ("noise", "velocity")
LARGEST = 2**31 - 1
"""Of any size: what has more does not fit into an index."""
DEEPEST = 1000
"""Most residual blocks of a stage."""

Config = TypeVar("Config")


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


def config_from_dict(kind: type[Config], values: Any, where: str) -> Config:
    """Build a flat config dataclass from parsed JSON or TOML.

    Integers are accepted where a float is meant; nothing else is converted.

    Args:
        kind: The dataclass.
        values: A mapping of its field names.
        where: Names the origin in error messages.

    Raises:
        InputError: For an unknown name, a missing one without default, or a value of another type or out of range.
    """
    if not isinstance(values, dict):
        raise InputError(f"{where}: expected a table of options, found {type(values).__name__}")
    fields = {field.name: field for field in dataclasses.fields(kind)}
    unknown = sorted(set(values) - set(fields))
    if unknown:
        raise InputError(f"{where}: unknown option {unknown[0]!r}; known are {', '.join(fields)}")
    converted = {}
    for name, value in values.items():
        expected = fields[name].type
        expected = {"int": int, "float": float, "str": str, "bool": bool}.get(str(expected), expected)
        if expected is float and type(value) is int and abs(value) < 2**63:
            value = float(value)
        if isinstance(expected, type) and type(value) is not expected:
            raise InputError(f"{where}: {name} must be {expected.__name__}, not {_shown(value)}")
        converted[name] = value
    missing = [
        name
        for name, field in fields.items()
        if name not in converted
        and field.default is dataclasses.MISSING
        and field.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise InputError(f"{where}: {missing[0]} is missing")
    try:
        config = kind(**converted)
    except InputError as error:  # a value out of range: the dataclass does not know where it comes from
        raise InputError(f"{where}: {error}") from None
    for name, value in converted.items():  # whatever the dataclass lets pass
        if (type(value) is int and abs(value) >= 2**63) or (type(value) is float and not math.isfinite(value)):
            raise InputError(f"{where}: {name} must be finite and below 2**63, not {_shown(value)}")
    return config


def _shown(value: Any) -> str:
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # more digits, or deeper, than Python writes out
        return "that"
    return text if len(text) <= 100 else f"{text[:100]}..."
