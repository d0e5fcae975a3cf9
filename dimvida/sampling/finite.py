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
    require_rows(what, finite_rows(values))


def require_rows(what: str, finite: Tensor) -> None:
    """The same of what is known already: ``finite``, bool, rows along the first dimension, or one row without any."""
    if not finite.all():
        rows = finite.reshape(len(finite) if finite.ndim else 1, -1).all(1)
        raise NotFinite(what, (~rows).nonzero().flatten().tolist())


def require_made(finite: Tensor) -> None:
    """The same of what ``MultiViewModel.decode_missing`` says of latents and images, bool [B, 2], asking once."""
    if not finite.all():
        for what, rows in zip(("latents", "images"), finite.unbind(1), strict=True):
            require_rows(what, rows)
