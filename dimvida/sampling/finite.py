"""Whether what was sampled or decoded is made of numbers."""

from __future__ import annotations

import torch
from torch import Tensor

from dimvida.errors import NotFinite


def finite_rows(values: Tensor) -> Tensor:
    """Which rows of a batch hold neither NaN nor infinity, without waiting for the device.

    Args:
        values: float [B, ...].

    Returns:
        bool [B]; True for a row without elements.
    """
    return torch.isfinite(values).flatten(1).all(1) if values.ndim > 1 else torch.isfinite(values)


def require_finite(what: str, values: Tensor) -> None:
    """Raise unless every row is finite. Waits for the device.

    Args:
        what: ``latents`` or ``images``, for the message.
        values: float [B, ...].

    Raises:
        NotFinite: With the rows that are not.
    """
    finite = finite_rows(values)
    if not finite.all():
        raise NotFinite(what, (~finite).nonzero().flatten().tolist())
