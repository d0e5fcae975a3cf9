"""What every multi-time score network is, and the first of them: a residual MLP over the latents of all views.

Its form is that of the MLD paper's ``UnetMLP`` (Bounoua, Franzese, Michiardi, Entropy 26(4):320, 2024),
which DiMViDA (Di Giacomo et al., IEEE CAMAD 2024) uses at width 1536.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional

LEVELS = 2


class MultiTimeNetwork(nn.Module, ABC):
    """Predicts from the latents of all views, given every view's own diffusion time.

    Args:
        views: Number of views V, at least 2.
        latent_dim: Size D of one view's latent.

    Attributes:
        masks_absent: Whether ``forward`` takes ``present``, bool [B, V], and leaves the other views out; a network that
            cannot is given noise in their place.
        takes_views: Whether ``forward`` takes ``views``, which say what views x has, see ``dimvida.sampling.sample``;
            one that does not has all of its named views.
        takes_cameras: Whether those may be cameras, too.
        prefers_bfloat16: Whether training multiplies in bfloat16 by default, where the hardware does so natively.
        output: The last layer, whose weights begin as zeros.

    Raises:
        ValueError: If ``views`` is below 2.
    """

    masks_absent = False
    takes_views = False
    takes_cameras = False
    prefers_bfloat16 = False
    output: nn.Module

    def __init__(self, views: int, latent_dim: int) -> None:
        super().__init__()
        if views < 2:
            raise ValueError(f"a score network needs at least 2 views, not {views}")
        self.views, self.latent_dim = views, latent_dim

    @property
    def is_trained(self) -> bool:
        """Whether it has been trained: its last layer, ``output``, leaves zero with the first step."""
        return bool(self.output.weight.any())

    @abstractmethod
    def forward(self, x: Tensor, tau: Tensor) -> Tensor:
        """What is predicted: minus the noise, or the velocity.

        Args:
            x: Latents [B, V, D]: noisy in the missing views, clean in the known ones.
            tau: Multi-time vector [B, V] in [0, 1]; 0 for a known view.

        Returns:
            [B, V, D]; entries of known views carry no meaning.
        """


class ResidualBlock(nn.Module):
    """Two pre-activated linear layers; the multi-time embedding enters between them.

    u = L1(SiLU(GN1(h))) + Lt(SiLU(c));  u = L2(SiLU(GN2(u)));  return u + skip(h)
    """

    def __init__(self, in_dim: int, out_dim: int, time_dim: int, groups: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, in_dim)
        self.linear1 = nn.Linear(in_dim, out_dim)
        self.time = nn.Linear(time_dim, out_dim)
        self.norm2 = nn.GroupNorm(groups, out_dim)
        self.linear2 = nn.Linear(out_dim, out_dim)
        self.skip = nn.Linear(in_dim, out_dim) if in_dim != out_dim else nn.Identity()

    def forward(self, h: Tensor, c: Tensor) -> Tensor:
        u = self.linear1(functional.silu(self.norm1(h))) + self.time(functional.silu(c))  # [B, out]
        u = self.linear2(functional.silu(self.norm2(u)))
        return u + self.skip(h)


class ScoreNetwork(MultiTimeNetwork):
    """Predicts minus the noise in the latents of all views, given every view's own diffusion time.

    The score of view v is ``output / sigma(tau_v)``. The last layer starts at zero, so an untrained network
    returns zeros.

    Args:
        views: Number of views V, at least 2.
        latent_dim: Size D of one view's latent.
        width: Hidden width W; a multiple of ``groups``.
        time_dim: Width T of the multi-time embedding.
        groups: Groups of every group norm.

    Raises:
        ValueError: If ``views`` is below 2 or ``width`` is not a multiple of ``groups``.
    """

    def __init__(self, views: int, latent_dim: int, width: int = 1536, time_dim: int = 512, groups: int = 32) -> None:
        super().__init__(views, latent_dim)
        if width % groups:
            raise ValueError(f"width {width} is not a multiple of groups {groups}")
        self.width, self.time_dim, self.groups = width, time_dim, groups
        size = views * latent_dim
        self.time_embedding = nn.Sequential(nn.Linear(views, time_dim), nn.GELU(), nn.Linear(time_dim, time_dim))
        self.input = nn.Linear(size, width)
        self.down_blocks = nn.ModuleList(ResidualBlock(width, width, time_dim, groups) for _ in range(LEVELS))
        self.down_linears = nn.ModuleList(nn.Linear(width, width) for _ in range(LEVELS))
        self.mid_blocks = nn.ModuleList(ResidualBlock(width, width, time_dim, groups) for _ in range(2))
        self.up_blocks = nn.ModuleList(ResidualBlock(2 * width, width, time_dim, groups) for _ in range(LEVELS))
        self.up_linears = nn.ModuleList(nn.Linear(width, width) for _ in range(LEVELS))
        self.final_block = ResidualBlock(2 * width, width, time_dim, groups)
        self.output_norm = nn.GroupNorm(groups, width)
        self.output = nn.Linear(width, size)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def forward(self, x: Tensor, tau: Tensor) -> Tensor:
        """Predict [B, V, D] of x [B, V, D] at the times tau [B, V], see ``MultiTimeNetwork``."""
        c = self.time_embedding(tau)  # [B, T]
        h = self.input(x.flatten(1))  # [B, W]
        first, stack = h, []
        for block, linear in zip(self.down_blocks, self.down_linears, strict=True):
            h = block(h, c)
            stack.append(h)
            h = linear(h)
        for block in self.mid_blocks:
            h = block(h, c)
        for block, linear in zip(self.up_blocks, self.up_linears, strict=True):
            h = linear(block(torch.cat([h, stack.pop()], dim=1), c))
        h = self.final_block(torch.cat([h, first], dim=1), c)
        return self.output(functional.silu(self.output_norm(h))).view_as(x)
