"""The masked multi-time denoising loss (DiMViDA eq. 6)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from dimvida.diffusion.masking import multi_time
from dimvida.diffusion.schedule import VPSchedule

Network = Callable[[Tensor, Tensor], Tensor]

TIME_WEIGHTS = ("none", "clamped")
LARGEST_WEIGHT = 5.0
"""Of an error in clean latents, where it is clamped: the gamma of Min-SNR."""


def diffuse_missing(
    latents: Tensor,
    known: Tensor,
    t: Tensor,
    noise: Tensor,
    schedule: VPSchedule,
    present: Tensor | None = None,
) -> Tensor:
    """Noise the missing views to time t, keep the known ones clean and put noise in place of absent ones.

    Args:
        latents: Standardised latents [B, V, D].
        known: bool [B, V].
        t: Times [B] in [0, 1].
        noise: Standard normal [B, V, D].
        schedule: Marginals of the forward SDE.
        present: bool [B, V], False where a view is absent; by default none is.

    Returns:
        [B, V, D].
    """
    m, sigma = schedule.mean(t)[:, None, None], schedule.sigma(t)[:, None, None]
    x = torch.where(known[..., None], latents, m * latents + sigma * noise)
    return x if present is None else torch.where(present[..., None], x, noise)


def denoising_loss(
    network: Network,
    latents: Tensor,
    known: Tensor,
    t: Tensor,
    noise: Tensor,
    schedule: VPSchedule,
    prediction: str = "noise",
    present: Tensor | None = None,
    time_weight: str = "none",
) -> Tensor:
    """lambda || M (out + eps) ||^2 with lambda = 1 + |C|/|M|, per latent entry, averaged over the batch.

    Divided by V * D, lambda makes this the mean squared error over the missing entries, whatever their number:
    an untrained network, which returns zeros, starts at 1. Views that an object lacks are neither in C nor in M, and V
    is the number of those that it has.

    Args:
        network: Maps (x [B, V, D], tau [B, V]) to its prediction [B, V, D].
        latents: Standardised latents [B, V, D].
        known: bool [B, V], at least one view of each row missing; absent ones are not known.
        t: Times [B] in [0, 1].
        noise: Standard normal [B, V, D].
        schedule: Marginals of the forward SDE.
        prediction: What the network predicts. For ``velocity`` the target is v instead of -eps.
        present: bool [B, V], False where a view is absent; by default none is. Latents there do not matter, as long
            as they are finite.
        time_weight: One of ``TIME_WEIGHTS``, by which a row's error is weighted: ``clamped``, see ``clamped_weights``.

    Returns:
        A scalar.
    """
    out = network(diffuse_missing(latents, known, t, noise, schedule, present), multi_time(t, known))
    missing = (~known if present is None else ~known & present).to(out)  # [B, V], those that are scored
    weight = 1 + known.sum(1) / missing.sum(1)  # lambda = |C or M| / |M|
    if present is not None:
        weight = weight * (present.shape[1] / present.sum(1))  # so that lambda is divided by |C or M| D below
    target = -noise
    if prediction == "velocity":
        m, sigma = schedule.mean(t)[:, None, None], schedule.sigma(t)[:, None, None]
        target = m * noise - sigma * latents
    if time_weight == "clamped":
        weight = weight * clamped_weights(t, schedule, prediction)
    error = (missing[..., None] * (out - target)).square().sum((1, 2))
    return (weight * error).mean() / latents[0].numel()


def clamped_weights(t: Tensor, schedule: VPSchedule, prediction: str) -> Tensor:
    """Weights [B] in [0, 1] of errors at times t [B], so that no error in clean latents weighs more than 5.

    The squared error of the noise is that of the clean latents it stands for times the signal-to-noise ratio
    m^2 / sigma^2; that of the velocity is it times this ratio and 1, which is 1 / sigma^2. Both grow without bound as
    the noise vanishes, where a network of any size is right anyway. (Hang et al., "Efficient diffusion training via
    Min-SNR weighting strategy", 2023; Salimans and Ho, "Progressive distillation", 2022, section 4.)
    """
    variance = schedule.sigma(t).square()
    per_error = variance if prediction == "velocity" else variance / schedule.mean(t).square()
    return (LARGEST_WEIGHT * per_error).clamp_max(1)


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
