"""The masked multi-time denoising loss (DiMViDA eq. 6)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from dimvida.diffusion.masking import multi_time
from dimvida.diffusion.schedule import VPSchedule

Network = Callable[[Tensor, Tensor], Tensor]


def diffuse_missing(latents: Tensor, known: Tensor, t: Tensor, noise: Tensor, schedule: VPSchedule) -> Tensor:
    """Noise the missing views to time t and keep the known ones clean.

    Args:
        latents: Standardised latents [B, V, D].
        known: bool [B, V].
        t: Times [B] in [0, 1].
        noise: Standard normal [B, V, D].
        schedule: Marginals of the forward SDE.

    Returns:
        [B, V, D].
    """
    m, sigma = schedule.mean(t)[:, None, None], schedule.sigma(t)[:, None, None]
    return torch.where(known[..., None], latents, m * latents + sigma * noise)


def denoising_loss(
    network: Network,
    latents: Tensor,
    known: Tensor,
    t: Tensor,
    noise: Tensor,
    schedule: VPSchedule,
    prediction: str = "noise",
) -> Tensor:
    """lambda || M (out + eps) ||^2 with lambda = 1 + |C|/|M|, per latent entry, averaged over the batch.

    Divided by V * D, lambda makes this the mean squared error over the missing entries, whatever their number:
    an untrained network, which returns zeros, starts at 1.

    Args:
        network: Maps (x [B, V, D], tau [B, V]) to its prediction [B, V, D].
        latents: Standardised latents [B, V, D].
        known: bool [B, V], at least one view of each row missing.
        t: Times [B] in [0, 1].
        noise: Standard normal [B, V, D].
        schedule: Marginals of the forward SDE.
        prediction: What the network predicts. For ``velocity`` the target is v instead of -eps.

    Returns:
        A scalar.
    """
    out = network(diffuse_missing(latents, known, t, noise, schedule), multi_time(t, known))
    missing = (~known).to(out)  # [B, V]
    weight = 1 + known.sum(1) / missing.sum(1)  # lambda = V / |M|
    target = -noise
    if prediction == "velocity":
        m, sigma = schedule.mean(t)[:, None, None], schedule.sigma(t)[:, None, None]
        target = m * noise - sigma * latents
    error = (missing[..., None] * (out - target)).square().sum((1, 2))
    return (weight * error).mean() / latents[0].numel()


def training_times(batch: int, schedule: VPSchedule, sampling: str, generator: torch.Generator | None = None) -> Tensor:
    """Times [B] to train at: ``uniform``, or ``importance`` with density proportional to g^2 / sigma^2.

    Raises:
        ValueError: If ``sampling`` is neither.
    """
    u = torch.rand(batch, generator=generator)
    if sampling == "uniform":
        return u
    if sampling == "importance":
        return schedule.importance_times(u)
    raise ValueError(f"time sampling {sampling!r}: choose uniform or importance")
