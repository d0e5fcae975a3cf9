"""The sampler's ops: the masked step of every solver, and noise that belongs to a sample.

Importing this package registers ``torch.ops.dimvida.*``. Each op has a schema (``schemas``), a PyTorch reference
(``reference``) and, where built, kernels for the CPU and CUDA (``native``); torch picks by the tensors' device.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dimvida.ops import native, reference, schemas
from dimvida.ops.native import build_info, native_available

__all__ = [
    "TABLE_COLUMNS",
    "build_info",
    "masked_step_",
    "native",
    "native_available",
    "philox4x32",
    "philox_normal_",
    "reference",
]

TABLE_COLUMNS = schemas.TABLE_COLUMNS


def masked_step_(
    x: Tensor,
    x0_prev: Tensor,
    out: Tensor,
    known: Tensor,
    table: Tensor,
    step: Tensor,
    sample_ids: Tensor,
    seed: Tensor,
    *,
    noise: Tensor | None = None,
    clip: float = math.inf,
    low: Tensor | None = None,
) -> None:
    """One solver step on the missing views, in place; known views are never written.

    With ``(sigma, m, a, b, c, d)`` the table's row ``step``::

        x0      = clamp((x + sigma out) / m, -clip, clip)
        x      <- a x + b x0 + c x0_prev + d z
        x0_prev <- x0

    A term whose coefficient is 0 is not evaluated, so ``x0_prev`` may be uninitialised while c is 0 and ``noise`` is
    not read while d is 0. Where b and c are both 0, ``out`` is not read and ``x0_prev`` stays as it is.

    Args:
        x: State, float32 [B, V, D].
        x0_prev: The data prediction of the step before, float32 [B, V, D].
        out: The network's output, minus the predicted noise; float32, bfloat16 or float16 [B, V, D].
        known: True for known views, bool [B, V].
        table: Step coefficients, float32 [rows, 8]: sigma, m, a, b, c, d and two unused.
        step: The row to apply, int32 or int64 [1], on the tensors' device.
        sample_ids: Identity of each sample, int64 [B]; the only thing besides seed and step that its noise depends on.
        seed: int64 [1].
        noise: z, float32 [B, V, D]; by default z is draw ``step + 1`` of ``philox_normal_``.
        clip: Bound of the data prediction, > 0.
        low: Takes a copy of the whole new x, known views included; float32, bfloat16 or float16 [B, V, D].

    Raises:
        TypeError: A tensor has the wrong dtype.
        ValueError: A tensor has the wrong shape or device or is not contiguous, or clip is not positive.
        IndexError: step is no row of the table (CPU; elsewhere nothing is changed, since a kernel cannot raise).
        RuntimeError: A floating tensor requires grad while grad mode is on.
    """
    torch.ops.dimvida.masked_step_(x, x0_prev, out, known, table, step, sample_ids, seed, noise, clip, low)


def philox_normal_(z: Tensor, sample_ids: Tensor, seed: Tensor, draw: int) -> None:
    """Fills z with standard normals that depend on seed, sample id, draw and element, and on nothing else.

    The same arguments give the same numbers for any batch size and order and on any device.

    Args:
        z: float32 [B, ...].
        sample_ids: Identity of each sample, int64 [B].
        seed: int64 [1].
        draw: Number of this noise tensor in its trajectory, in [0, 2^32): 0 is the initial state, i + 1 is step i.

    Raises:
        TypeError: A tensor has the wrong dtype.
        ValueError: A tensor has the wrong shape or device or is not contiguous, or draw is out of range.
        RuntimeError: z requires grad while grad mode is on.
    """
    torch.ops.dimvida.philox_normal_(z, sample_ids, seed, draw)


def philox4x32(counters: Tensor, key: Tensor) -> Tensor:
    """The raw words of Philox4x32-10.

    Args:
        counters: int64 [n, 4], of which the low 32 bits count.
        key: int64 [2], likewise.

    Returns:
        int64 [n, 4], each in [0, 2^32).

    Raises:
        TypeError: A tensor is not int64.
        ValueError: A tensor has the wrong shape or device or is not contiguous.
    """
    return torch.ops.dimvida.philox4x32(counters, key)
