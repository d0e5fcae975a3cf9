"""Small score networks and what they are given."""

from __future__ import annotations

import torch
from torch import Tensor

from dimvida.models import ScoreNetwork


def random_network(views: int = 4, dim: int = 6, width: int = 32, groups: int = 4, seed: int = 0) -> ScoreNetwork:
    """Random weights and biases everywhere, so that every term of every layer shows."""
    network = ScoreNetwork(views, dim, width=width, time_dim=16, groups=groups)
    generator = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        scale = 0.7 * parameter[0].numel() ** -0.5 if parameter.ndim > 1 else 0.3
        parameter.data.copy_(scale * torch.randn(parameter.shape, generator=generator))
    return network


def random_inputs(rows: int, views: int, dim: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    latents = torch.randn(rows, views, dim, generator=generator)
    return latents, torch.rand(rows, views, generator=generator) < 0.4
