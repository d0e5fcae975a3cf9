"""The sampler's ops: the masked step of every solver, noise that belongs to a sample, the norms of the score network
and the bytes of decoded images.

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
    "group_norm_silu_",
    "masked_step_",
    "native",
    "native_available",
    "pack_images",
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
        ValueError: A tensor has the wrong shape or device or is not contiguous, clip is not positive, or x, x0_prev or
            low shares memory with another tensor; out and noise may be one of them, but not a part.
        IndexError: step is no row of the table (CPU; elsewhere nothing is changed, since a kernel cannot raise).
        RuntimeError: A floating tensor requires grad while grad mode is on.
    """
    torch.ops.dimvida.masked_step_(x, x0_prev, out, known, table, step, sample_ids, seed, noise, clip, low)


def group_norm_silu_(
    out: Tensor,
    left: Tensor,
    weight: Tensor,
    bias: Tensor,
    groups: int,
    *,
    eps: float = 1e-5,
    right: Tensor | None = None,
    rows: Tensor | None = None,
    mask: Tensor | None = None,
    step: Tensor | None = None,
    residual: Tensor | None = None,
    sum: Tensor | None = None,
) -> None:
    """Group norm and SiLU of a row, with what the score network adds just before::

        v   = cat[left + residual, right] + rows[mask, step]
        out = silu(group_norm(v) * weight + bias)
        sum = left + residual

    Matrices may be views whose rows lie apart. All arithmetic is float32, the variance is taken in two passes.

    Args:
        out: Result, float32, bfloat16 or float16 [B, W1 + W2]; shares no memory with the other tensors.
        left: First columns, float32, bfloat16 or float16 [B, W1].
        weight: float32 [W1 + W2].
        bias: float32 [W1 + W2].
        groups: Groups of columns normalised together; divides W1 + W2, and need not respect where right starts.
        eps: Added to the variance, > 0.
        right: The other columns, [B, W2] in the dtype of left.
        rows: What is added to each sample, float32 [masks, steps, W1 + W2].
        mask: First index into rows, int64 [B]; 0 by default. A sample whose mask is none of them is added nothing.
        step: Second index into rows, int32 or int64 [1], on the tensors' device; 0 by default.
        residual: Added to left, [B, W1] in its dtype.
        sum: Takes left + residual, [B, W1] in the dtype of left; may be left or residual itself.

    Raises:
        TypeError: A tensor has the wrong dtype.
        ValueError: A tensor has the wrong shape, device or layout, a number is out of range, or what is written shares
            memory with another tensor or, row by row, with itself.
        IndexError: step is none of rows (CPU; elsewhere nothing is changed, since a kernel cannot raise).
        RuntimeError: A floating tensor requires grad while grad mode is on.
    """
    torch.ops.dimvida.group_norm_silu_(out, left, weight, bias, groups, eps, right, rows, mask, step, residual, sum)


def pack_images(images: Tensor) -> Tensor:
    """Images as bytes, channels last: round(255 clamp(x, 0, 1)), ties to even, 0 for NaN.

    Args:
        images: float32, bfloat16 or float16 [N, C, H, W], of any strides, meant for [0, 1].

    Returns:
        uint8 [N, H, W, C].

    Raises:
        TypeError: images has the wrong dtype.
        ValueError: images has not four dimensions.
        RuntimeError: images requires grad while grad mode is on.
    """
    return torch.ops.dimvida.pack_images(images)


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
        ValueError: A tensor has the wrong shape or device, is not contiguous or shares memory with z, or draw is out
            of range.
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
