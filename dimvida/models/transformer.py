"""The view transformer: a score network whose tokens are patches of the views' latent grids.

It is a diffusion transformer with adaptive layer norm (Peebles and Xie, "Scalable diffusion models with transformers",
ICCV 2023) over the tokens of all views of an object at once, in which every view has a diffusion time of its own. An
MLP sees all views as one vector; here a token knows its place in the grid and its view, so that what holds at one place
need not be learned anew at each. Nothing depends on how many views there are but the table of named views, which a
network that is conditioned on cameras does without: it takes and makes views from any angle.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from dimvida.models.config import TransformerConfig
from dimvida.models.score_network import MultiTimeNetwork

HIGHEST_FREQUENCY = 1000.0
"""Of the sinusoids of a time in [0, 1], in radians; the lowest is 1."""
ANGLE_FREQUENCIES = (1, 2, 3)
"""Waves a turn of the sinusoids of a camera's angles. Whole numbers, so that a full turn is no turn; low ones, so that
what lies between trained azimuths is like its neighbours: eight azimuths at equal distances, 45 degrees, tell the waves
of up to 3 apart, but of the sines of 4 none, and the sum of these cosines first vanishes 51 degrees away."""
NORM_EPSILON = 1e-6


class ViewTransformer(MultiTimeNetwork):
    """Predicts from the latents of any views, given every view's own diffusion time.

    Views are some of its named ones or, where it is conditioned on cameras, seen from anywhere.

    The last layer starts at zero, so an untrained network returns zeros; so do all gates, so that a block begins as the
    identity.

    Args:
        views: Number of named views V, at least 2.
        latent_shape: c, n and n of one view's latent grid.
        config: Sizes; ``patch`` divides n.
        cameras: Azimuth and elevation of each named view in degrees, for a network that is conditioned on them; without
            it knows its views by name.

    Attributes:
        takes_cameras: Whether it is conditioned on cameras.

    Raises:
        InputError: If the latents are no grid of such patches.
    """

    masks_absent = True
    takes_views = True
    prefers_bfloat16 = True

    def __init__(
        self,
        views: int,
        latent_shape: tuple[int, ...],
        config: TransformerConfig,
        cameras: Sequence[tuple[float, float]] | None = None,
    ) -> None:
        config.require_latents(latent_shape)
        super().__init__(views, math.prod(latent_shape))
        self.config = config
        self.latent_shape, self.patch, self.time_dim = latent_shape, config.patch, config.time_dim
        width, entries = config.width, latent_shape[0] * config.patch**2
        self.width = width
        self.takes_cameras = cameras is not None
        self.view_embedding = NamedViews(views, width) if cameras is None else CameraViews(cameras, width)
        self.place_embedding = nn.Parameter(0.02 * torch.randn((latent_shape[1] // config.patch) ** 2, width))
        self.time_embedding = nn.Sequential(nn.Linear(config.time_dim, width), nn.SiLU(), nn.Linear(width, width))
        self.input = nn.Linear(entries, width)
        shared = config.modulation == "shared"
        self.known_attend = config.known_attend
        self.block_modulation = _zeros(nn.Linear(width, 6 * width)) if shared else None
        self.blocks = nn.ModuleList(
            TransformerBlock(width, config.heads, config.mlp_ratio * width, shared) for _ in range(config.depth)
        )
        self.modulation = _zeros(nn.Linear(width, 2 * width))
        self.output = _zeros(nn.Linear(width, entries))

    def extra_repr(self) -> str:
        return f"patch={self.patch}, known_attend={self.known_attend}"

    def forward(self, x: Tensor, tau: Tensor, present: Tensor | None = None, views: Tensor | None = None) -> Tensor:
        """Predict as ``MultiTimeNetwork`` describes it, for any n views in any order.

        Args:
            x: Latents [B, n, D]: noisy in the missing views, clean in the known ones.
            tau: Multi-time vector [B, n] in [0, 1]; 0 for a known view.
            present: bool [B, n], False where an object lacks a view: what x and tau hold there has no influence, and
                its output no meaning. By default none is lacking.
            views: Which of the named views they are, int64 [n] or [B, n]; by default all V in their order. Of a network
                that takes cameras also azimuth and elevation of each in degrees, float [n, 2] or [B, n, 2].

        Returns:
            [B, n, D]; entries of known views carry no meaning.
        """
        if present is not None:
            # Not only left out of attention: what is not finite there would spoil its weight of 0.
            x, tau = torch.where(present[..., None], x, 0), torch.where(present, tau, 0)
        mask = self.attention_mask(tau, present)
        h = self.input(self._patches(x)) + self.place_embedding + self.view_embedding(views)[..., None, :]
        c = self.condition(tau)[:, :, None]  # [B, n, 1, W]
        modulating = c if self.block_modulation is None else self.block_modulation(c)
        for block in self.blocks:
            h = block(h, modulating, mask)  # [B, n, P, W]
        shift, scale = self.modulation(c).chunk(2, -1)
        return self._grids(self.output(_modulated(h, shift, scale)))

    def condition(self, tau: Tensor) -> Tensor:
        """What modulates the tokens of a view, [..., W], of its time [...]."""
        return functional.silu(self.time_embedding(sinusoids(tau, self.time_dim)))

    def attention_mask(self, tau: Tensor, present: Tensor | None) -> Tensor | None:
        """Which tokens are attended to, bool [B, 1, 1, n P], or [B, 1, n P, n P] by which of them; None for all."""
        places = len(self.place_embedding)
        seen = None if present is None else present[:, None]  # [B, queries, keys]
        if self.known_attend == "known":
            known = tau == 0 if present is None else (tau == 0) & present
            among = known[:, None] | ~known[..., None]
            # An absent view sees whatever is there: of nothing there is no softmax.
            seen = (among if seen is None else among & seen).repeat_interleave(places, 1)
        return None if seen is None else seen.repeat_interleave(places, 2)[:, None]

    def _patches(self, x: Tensor) -> Tensor:
        """Latents [B, n, D] as P patches each, [B, n, P, c p p]."""
        channels, edge, _ = self.latent_shape
        rows = edge // self.patch
        x = x.reshape(*x.shape[:2], channels, rows, self.patch, rows, self.patch)
        return x.permute(0, 1, 3, 5, 2, 4, 6).flatten(4).flatten(2, 3)

    def _grids(self, patches: Tensor) -> Tensor:
        """The inverse of ``_patches``."""
        channels, edge, _ = self.latent_shape
        rows = edge // self.patch
        patches = patches.view(*patches.shape[:2], rows, rows, channels, self.patch, self.patch)
        return patches.permute(0, 1, 4, 2, 5, 3, 6).flatten(2)


class NamedViews(nn.Module):
    """A learned vector for each named view: what tells a token which view it is of.

    Args:
        views: Number of named views V.
        width: Numbers W of a vector.
    """

    def __init__(self, views: int, width: int) -> None:
        super().__init__()
        self.vectors = nn.Parameter(0.5 * torch.randn(views, width))

    def forward(self, views: Tensor | None = None) -> Tensor:
        """The vectors [..., W] of the named views at int64 [...]; by default of all, [V, W]."""
        return self.vectors if views is None else self.vectors[views]


class CameraViews(nn.Module):
    """What tells a token where its view is seen from: sinusoids of the camera's angles, through a small MLP.

    Args:
        cameras: Azimuth and elevation of each of the V named views, in degrees.
        width: Numbers W of a vector.
    """

    cameras: Tensor

    def __init__(self, cameras: Sequence[tuple[float, float]], width: int) -> None:
        super().__init__()
        self.register_buffer("cameras", torch.tensor(cameras, dtype=torch.float32), persistent=False)  # [V, 2]
        self.layers = nn.Sequential(nn.Linear(4 * len(ANGLE_FREQUENCIES), width), nn.SiLU(), nn.Linear(width, width))
        nn.init.normal_(self.layers[0].weight, std=0.5)  # else neighbours would begin as one and the same

    def forward(self, views: Tensor | None = None) -> Tensor:
        """The vectors [..., W] of cameras float [..., 2], or of the named views at int64 [...]; by default of all."""
        if views is None or not views.is_floating_point():
            views = self.cameras if views is None else self.cameras[views]
        # In float32 whatever the weights are in: an angle of 350 degrees has no room in half of it.
        angles = views.float().deg2rad()[..., None] * views.new_tensor(ANGLE_FREQUENCIES, dtype=torch.float32)
        features = torch.cat([angles.cos(), angles.sin()], -1).flatten(-2)  # [..., 12]
        return self.layers(features.to(self.layers[0].weight.dtype))


class TransformerBlock(nn.Module):
    """Attention over all tokens, then an MLP for each; both between a modulated norm and a gate.

    x = x + gate * attention(norm(x) * (1 + scale) + shift), and so for the MLP.

    Args:
        width: Numbers W of a token.
        heads: Heads of the attention.
        hidden: Hidden width of the MLP.
        shared: Whether shifts, scales and gates come ready from a layer that all blocks share, but for an offset.
    """

    def __init__(self, width: int, heads: int, hidden: int, shared: bool = False) -> None:
        super().__init__()
        self.heads = heads
        self.attention_input = nn.Linear(width, 3 * width)
        self.attention_output = nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(approximate="tanh"), nn.Linear(hidden, width))
        self.modulation = Offset(6 * width) if shared else _zeros(nn.Linear(width, 6 * width))

    def extra_repr(self) -> str:
        return f"heads={self.heads}"

    def forward(self, x: Tensor, c: Tensor, mask: Tensor | None) -> Tensor:
        """Tokens [B, n, P, W] after the block.

        Args:
            x: Tokens of n views, P of each.
            c: What modulates the tokens of each view, [B, n, 1, W], or [B, n, 1, 6 W] from a shared layer.
            mask: Which tokens are attended to, bool [B, 1, 1 or n P, n P]; None for all.
        """
        shift1, scale1, gate1, shift2, scale2, gate2 = self.modulation(c).chunk(6, -1)
        x = x + gate1 * self._attend(_modulated(x, shift1, scale1), mask)
        return x + gate2 * self.mlp(_modulated(x, shift2, scale2))

    def _attend(self, x: Tensor, mask: Tensor | None) -> Tensor:
        batch, width = len(x), x.shape[-1]
        joint = self.attention_input(x).view(batch, -1, 3, self.heads, width // self.heads)
        query, key, value = joint.permute(2, 0, 3, 1, 4)  # [B, heads, n P, W / heads] each
        attended = attention(query, key, value, mask)
        return self.attention_output(attended.transpose(1, 2).reshape(x.shape))


class Offset(nn.Module):
    """Adds a learned vector, which starts at zero.

    Args:
        size: Numbers of the vector.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.offset = nn.Parameter(torch.zeros(size))

    def forward(self, x: Tensor) -> Tensor:
        """x [..., size] with the vector added."""
        return x + self.offset


def attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
    """What each query attends to, [B, heads, N, d].

    Args:
        query, key, value: [B, heads, N, d].
        mask: Which keys are attended to, bool [B, 1, 1 or N, N], at least one by each query; None for all.
    """
    if query.device.type == "cpu" and query.dtype == torch.bfloat16 and query.requires_grad:
        # PyTorch's fused backward pass in bfloat16 takes five times as long on CPUs, a third of a whole training step.
        scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
        scores = scores if mask is None else scores.masked_fill(~mask, -math.inf)
        return scores.softmax(-1) @ value
    return functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)


def sinusoids(times: Tensor, count: int) -> Tensor:
    """Cosines and sines [..., count] of times [...] in [0, 1], of frequencies from 1 to ``HIGHEST_FREQUENCY``."""
    exponents = torch.linspace(0, math.log(HIGHEST_FREQUENCY), count // 2, dtype=torch.float32, device=times.device)
    angles = times.float()[..., None] * exponents.exp()
    return torch.cat([angles.cos(), angles.sin()], -1).to(times.dtype)


def _modulated(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    return functional.layer_norm(x, x.shape[-1:], eps=NORM_EPSILON) * (1 + scale) + shift


def _zeros(layer: nn.Linear) -> nn.Linear:
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
