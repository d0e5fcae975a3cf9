"""Sizes of the networks, as they stand in a checkpoint's ``config.json``: a dataclass for each form.

The networks, which import this, are imported where one is built.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from dimvida.errors import InputError, require_choice
from dimvida.records import LATER, require_positive

if TYPE_CHECKING:
    from dimvida.models.score_network import ScoreNetwork
    from dimvida.models.transformer import ViewTransformer

PREDICTIONS = ("noise", "velocity")
KNOWN_ATTEND = ("all", "known")
MODULATIONS = ("block", "shared")
DEEPEST = 1000
"""Most blocks of a network, or of a stage of it, whose depth is free."""

Cameras = Sequence[tuple[float, float]]
"""Azimuth and elevation of each view, in degrees."""


class _OfImages:
    """What the sizes of all autoencoders have in common."""

    __slots__ = ()

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """C, H and W of an image."""
        return self.channels, self.image_size, self.image_size

    def _require_sizes(self, multiple: int) -> None:
        require_positive(self)
        if self.depth > DEEPEST:
            raise InputError(f"depth must be at most {DEEPEST}, not {self.depth}")
        if self.kind != "pooling" and self.base % 8:
            raise InputError(f"base {self.base}: the {self.kind} autoencoder needs a multiple of 8")
        if self.image_size % multiple:
            raise InputError(
                f"image_size {self.image_size}: the {self.kind} autoencoder needs a multiple of {multiple}"
            )


@dataclass(frozen=True, slots=True)
class AutoencoderConfig(_OfImages):
    """Sizes of a ``PoolingAutoencoder``, as they stand in a checkpoint's ``config.json``.

    Attributes:
        kind: Always ``pooling``; says in files which network it is.
        image_size: Height and width in pixels; a multiple of 4.
        channels: Channels of images: 3 for RGB, 1 for gray.
        latent_dim: Size D of one view's latent.
        base: Channels of the first stage.
        depth: Stands in files, and says nothing of this network.
    """

    retired: ClassVar[Mapping[str, str]] = {
        "patch": "is of an earlier version, and this one has it no more: train anew, with kind grid or pooling"
    }

    kind: str = "pooling"
    image_size: int = 64
    channels: int = 3
    latent_dim: int = 64
    base: int = 64
    depth: int = 1

    def __post_init__(self) -> None:
        if self.kind != "pooling":
            raise InputError(f"autoencoder kind {self.kind!r}: this one is 'pooling'")
        self._require_sizes(4)

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """The form of one view's latent: D numbers without an order."""
        return (self.latent_dim,)


@dataclass(frozen=True, slots=True)
class GridAutoencoderConfig(_OfImages):
    """Sizes of a ``GridAutoencoder``, as they stand in a checkpoint's ``config.json``.

    Attributes:
        kind: Always ``grid``; says in files which network it is.
        image_size: Height and width in pixels, a multiple of 8.
        channels: Channels of images: 3 for RGB, 1 for gray.
        latent_channels: Channels c of a latent, which is a grid of n x n places, n an eighth of ``image_size``.
        latent_dim: Size D = c n n of one view's latent. It follows from the others; 0 fills it in.
        base: Channels of the first stage, a multiple of 8.
        depth: Residual blocks per stage.
    """

    kind: str = "grid"
    image_size: int = 64
    channels: int = 3
    latent_channels: int = 4
    latent_dim: int = 0
    base: int = 64
    depth: int = 1

    def __post_init__(self) -> None:
        if self.kind != "grid":
            raise InputError(f"autoencoder kind {self.kind!r}: this one is 'grid'")
        size = math.prod(self.latent_shape)
        if self.latent_dim == 0:
            object.__setattr__(self, "latent_dim", size)
        self._require_sizes(8)
        if self.latent_dim != size:
            form = " x ".join(map(str, self.latent_shape))
            raise InputError(
                f"latent_dim {self.latent_dim}: {self.latent_channels} latent_channels at image_size {self.image_size} "
                f"are {form} = {size} numbers; leave latent_dim out"
            )

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """The form of one view's latent: c channels of n x n places."""
        return self.latent_channels, self.image_size // 8, self.image_size // 8


class ScoreSizes:
    """What the sizes of all score networks have in common, unless they say otherwise.

    Attributes:
        takes_views: Whether the network can be given some of its views alone.
        takes_cameras: Whether it can be conditioned on cameras.
    """

    __slots__ = ()

    takes_views: ClassVar[bool] = False
    takes_cameras: ClassVar[bool] = False

    def require_latents(self, latent_shape: tuple[int, ...]) -> None:
        """Raise InputError unless it takes latents of that form. It takes all, as numbers without places."""

    def require_cameras(self, cameras: Cameras, views: int) -> None:
        """Raise InputError unless these can be the cameras of V named views. It is not conditioned on any."""
        raise InputError(f"score.kind {self.kind} is not conditioned on cameras, as 'transformer' is; leave them out")


@dataclass(frozen=True, slots=True)
class ScoreConfig(ScoreSizes):
    """Sizes of a ``ScoreNetwork``, as they stand in a checkpoint's ``config.json``.

    Attributes:
        width: Hidden width W; a multiple of ``groups``.
        time_dim: Width T of the multi-time embedding.
        groups: Groups of every group norm.
        prediction: What the network's output means, see ``prediction_factors``.
    """

    kind: ClassVar[str] = "mlp"  # stands in no file

    width: int = 1536
    time_dim: int = 512
    groups: int = 32
    prediction: str = "noise"

    def __post_init__(self) -> None:
        require_positive(self)
        require_choice("prediction", self.prediction, PREDICTIONS)
        if self.width % self.groups:
            raise InputError(f"width {self.width} is not a multiple of groups {self.groups}")

    def build(self, views: int, latent_shape: tuple[int, ...]) -> ScoreNetwork:
        """A freshly initialised network of these sizes, for V views with latents of that form."""
        from dimvida.models.score_network import ScoreNetwork

        return ScoreNetwork(views, math.prod(latent_shape), self.width, self.time_dim, self.groups)


@dataclass(frozen=True, slots=True)
class TransformerConfig(ScoreSizes):
    """Sizes of a ``ViewTransformer``, as they stand in a checkpoint's ``config.json``.

    Attributes:
        kind: Always ``transformer``; says in files which network it is.
        width: Numbers W of a token, a multiple of ``heads``.
        depth: Number of blocks.
        heads: Heads of each attention.
        patch: Edge p of the patches that are tokens, in places of the latent grid, whose edge it must divide.
        mlp_ratio: Hidden width of a block's MLP in units of ``width``.
        time_dim: Sinusoids T of a diffusion time, an even number.
        prediction: What the network's output means, see ``prediction_factors``.
        known_attend: What tokens of known views attend to: ``all`` tokens, or those of ``known`` views only, so that
            their keys and values are the same in every evaluation of a trajectory.
        modulation: ``block``: what modulates a block is made of the times by a layer of its own. ``shared``: by one
            layer for all, and each block adds an offset of its own (Chen et al., "PixArt-alpha", 2023, section 2.3).
    """

    takes_views: ClassVar[bool] = True
    takes_cameras: ClassVar[bool] = True

    kind: str = "transformer"
    width: int = 256
    depth: int = 6
    heads: int = 8
    patch: int = 2
    mlp_ratio: int = 4
    time_dim: int = 128
    prediction: str = "velocity"
    known_attend: str = field(default="all", metadata=LATER)
    modulation: str = field(default="block", metadata=LATER)

    def __post_init__(self) -> None:
        if self.kind != "transformer":
            raise InputError(f"score network kind {self.kind!r}: this one is 'transformer'")
        require_positive(self)
        require_choice("prediction", self.prediction, PREDICTIONS)
        for name, choices in (("known_attend", KNOWN_ATTEND), ("modulation", MODULATIONS)):
            require_choice(name, getattr(self, name), choices)
        if self.depth > DEEPEST:
            raise InputError(f"depth must be at most {DEEPEST}, not {self.depth}")
        if self.width % self.heads:
            raise InputError(f"width {self.width} is not a multiple of heads {self.heads}")
        if self.time_dim % 2:
            raise InputError(f"time_dim {self.time_dim}: a sine and a cosine each need an even number")

    def require_latents(self, latent_shape: tuple[int, ...]) -> None:
        """Raise InputError unless it takes latents of that form: grids with such patches."""
        if len(latent_shape) != 3:
            raise InputError(
                f"score.kind transformer takes latents that are grids, not {latent_shape[0]} numbers without places: "
                "autoencoder.kind grid makes them"
            )
        if latent_shape[-1] % self.patch:
            raise InputError(f"score.patch {self.patch} does not divide the latents' grid of {latent_shape[-1]} places")

    def require_cameras(self, cameras: Cameras, views: int) -> None:
        """Raise InputError unless these can be the cameras of V named views."""
        if len(cameras) != views or any(len(angles) != 2 for angles in cameras):
            raise InputError(f"cameras must be an azimuth and an elevation for each of the {views} views")
        if not all(math.isfinite(azimuth) and -90 <= elevation <= 90 for azimuth, elevation in cameras):
            raise InputError("cameras: an azimuth must be finite, an elevation between -90 and 90 degrees")

    def build(self, views: int, latent_shape: tuple[int, ...], cameras: Cameras | None = None) -> ViewTransformer:
        """A freshly initialised network of these sizes, for V named views with latents of that form.

        With azimuth and elevation of each, in degrees, it is conditioned on cameras.
        """
        from dimvida.models.transformer import ViewTransformer

        return ViewTransformer(views, latent_shape, self, cameras)


AnyAutoencoderConfig = AutoencoderConfig | GridAutoencoderConfig
"""Sizes of any autoencoder, told apart by their field ``kind``."""

AnyScoreConfig = ScoreConfig | TransformerConfig
"""Sizes of any score network: a union where there are several kinds, told apart by their field ``kind``. A file that
names no kind means the first, which has no such field."""
