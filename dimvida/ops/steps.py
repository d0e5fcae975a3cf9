"""The ops of a sampler: the masked step of every solver, and noise that belongs to a sample."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dimvida.diffusion.step_table import TABLE_COLUMNS
from dimvida.ops.checks import BOOL, FLOAT32, FLOATING, INT64, INTEGER, check
from dimvida.ops.registration import Arguments, Sizes, declare, in_pytorch

MAX_ELEMENTS = 2**34
"""Normals that one sample can draw at once: a 32-bit counter of groups of four."""

_MASK32 = 0xFFFFFFFF


@declare(writes=("x", "x0_prev", "x_cast"))
def masked_step_(
    x: Tensor,
    x0_prev: Tensor,
    model_output: Tensor,
    known: Tensor,
    table: Tensor,
    step: Tensor,
    sample_ids: Tensor,
    seed: Tensor,
    noise: Tensor | None = None,
    clip: float | None = None,
    x_cast: Tensor | None = None,
) -> Sizes:
    """One solver step on the missing views, in place; known views are never written.

    With ``(sigma, m, a, b, c, d)`` the table's row ``step``::

        x0      = clamp((x + sigma model_output) / m, -clip, clip)
        x      <- a x + b x0 + c x0_prev + d z
        x0_prev <- x0

    A term whose coefficient is 0 is not evaluated, so ``x0_prev`` may be uninitialised while c is 0 and ``noise`` is
    not read while d is 0. Where b and c are both 0, ``model_output`` is not read and ``x0_prev`` stays as it is.

    Args:
        x: State, float32 [B, V, D].
        x0_prev: The data prediction of the step before, float32 [B, V, D].
        model_output: The network's output, minus the predicted noise; float32, bfloat16 or float16 [B, V, D].
        known: True for known views, bool [B, V].
        table: Step coefficients, float32 [rows, 8]: sigma, m, a, b, c, d and two unused.
        step: The row to apply, int32 or int64 [1], on the tensors' device.
        sample_ids: Identity of each sample, int64 [B]; the only thing besides seed and step that its noise depends on.
        seed: int64 [1].
        noise: z, float32 [B, V, D]; by default z is draw ``step + 1`` of ``philox_normal_``.
        clip: Bound of the data prediction, > 0; by default there is none.
        x_cast: Takes a copy of the whole new x, known views included; float32, bfloat16 or float16 [B, V, D].

    Raises:
        TypeError: A tensor has the wrong dtype.
        ValueError: A tensor has the wrong shape or device or is not contiguous, clip is not positive, or x, x0_prev or
            x_cast shares memory with another tensor; model_output and noise may be one of them, but not a part.
        IndexError: step is no row of the table (CPU; elsewhere nothing is changed, since a kernel cannot raise).
        RuntimeError: A floating tensor requires grad while grad mode is on.
    """
    if x.dim() != 3:
        raise ValueError(f"x must have shape [B, V, D], not {list(x.shape)}")
    shape, device = x.shape, x.device
    check(x, "x", FLOAT32, shape, device)
    check(x0_prev, "x0_prev", FLOAT32, shape, device)
    check(model_output, "model_output", FLOATING, shape, device)
    check(known, "known", BOOL, shape[:2], device)
    check(table, "table", FLOAT32, (table.shape[0] if table.dim() else 0, TABLE_COLUMNS), device)
    check(step, "step", INTEGER, (1,), device)
    check(sample_ids, "sample_ids", INT64, shape[:1], device)
    check(seed, "seed", INT64, (1,), device)
    if noise is not None:
        check(noise, "noise", FLOAT32, shape, device)
    if x_cast is not None:
        check(x_cast, "x_cast", FLOATING, shape, device)
    if clip is None:
        clip = math.inf
    if not clip > 0:  # also refuses NaN
        raise ValueError(f"clip must be positive, or infinity for none, not {clip}")
    batch, views, dim = shape
    if views * dim > MAX_ELEMENTS:
        raise ValueError(f"V * D must be at most {MAX_ELEMENTS}, not {views * dim}")
    return {"batch": batch, "views": views, "dim": dim, "table_rows": table.shape[0], "clip": clip}


@in_pytorch(masked_step_)
def _masked_step(p: Arguments) -> None:
    valid = (p.step >= 0) & (p.step < p.table_rows)  # [1]
    if p.x.device.type == "cpu" and p.x.numel() and not valid:
        raise IndexError(f"step {int(p.step)} is no row of a table of {p.table_rows}")
    if p.x.numel() == 0 or p.table_rows == 0:
        return
    missing = (~p.known & valid)[:, :, None]  # [B, V, 1]
    sigma, m, a, b, c, d, _, _ = p.table[p.step.clamp(0, p.table_rows - 1)][0].unbind()
    z = p.noise
    if z is None:
        z = _normals(p.sample_ids, p.seed, p.step.long() + 1, p.views * p.dim).reshape(p.x.shape)

    # A term whose coefficient is 0 is left out, not multiplied, so that what it would read may hold anything.
    predicts = (b != 0) | (c != 0)
    x0 = ((p.x + sigma * p.model_output.float()) / m).clamp(-p.clip, p.clip)
    new = a * p.x
    new = torch.where(predicts, new + b * x0, new)
    new = torch.where(c != 0, new + c * p.x0_prev, new)
    new = torch.where(d != 0, new + d * z, new)

    p.x0_prev.copy_(torch.where(missing & predicts, x0, p.x0_prev))
    p.x.copy_(torch.where(missing, new, p.x))
    if p.x_cast is not None:
        p.x_cast.copy_(torch.where(valid, p.x.to(p.x_cast.dtype), p.x_cast))


@declare(writes=("z",))
def philox_normal_(z: Tensor, sample_ids: Tensor, seed: Tensor, draw: int) -> Sizes:
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
    if z.dim() < 1:
        raise ValueError("z must have shape [B, ...], not []")
    shape, device = z.shape, z.device
    check(z, "z", FLOAT32, shape, device)
    check(sample_ids, "sample_ids", INT64, shape[:1], device)
    check(seed, "seed", INT64, (1,), device)
    if not 0 <= draw < 2**32:
        raise ValueError(f"draw must be in [0, 2^32), not {draw}")
    count = shape[1:].numel()
    if count > MAX_ELEMENTS:
        raise ValueError(f"a sample of z must have at most {MAX_ELEMENTS} elements, not {count}")
    return {"batch": shape[0], "count": count}


@in_pytorch(philox_normal_)
def _philox_normal(p: Arguments) -> None:
    draw = torch.tensor(p.draw, device=p.z.device)
    p.z.copy_(_normals(p.sample_ids, p.seed, draw, p.count).reshape(p.z.shape))


def _normals(sample_ids: Tensor, seed: Tensor, draw: Tensor, count: int) -> Tensor:
    """Normals ``[B, count]``: element e of a sample is number e % 4 of counter (e / 4, draw, sample id)."""
    batch, quads = sample_ids.shape[0], (count + 3) // 4
    ids = sample_ids[:, None].expand(batch, quads)
    counters = torch.stack(
        [
            torch.arange(quads, device=ids.device).expand(batch, quads),
            draw.expand(batch, quads),
            _low32(ids),
            _high32(ids),
        ],
        dim=-1,
    )
    key = torch.cat([_low32(seed), _high32(seed)])
    words = _philox_words(counters.reshape(-1, 4), key)
    return normals_of_words(words).reshape(batch, 4 * quads)[:, :count]


def normals_of_words(words: Tensor) -> Tensor:
    """Box-Muller on words ``[..., 4]``: pairs (0, 1) and (2, 3) give a radius and a direction each.

    Computed in float64 and rounded once; only the uniform below the logarithm is float32 by definition, because its
    rounding decides how normals near 0 look.
    """
    uniform = (words[..., 0::2].to(torch.float32).double() * 2.0**-32 + 2.0**-33).float()
    radius = torch.sqrt(-2.0 * torch.log(uniform.double()))
    angle = words[..., 1::2].double() * (2.0 * math.pi * 2.0**-32)
    pairs = torch.stack([radius * torch.cos(angle), radius * torch.sin(angle)], dim=-1)  # [..., 2, 2]
    return pairs.flatten(-2).float()


@declare(result=("words", lambda counters, key: torch.empty_like(counters)))
def philox4x32(counters: Tensor, key: Tensor) -> Sizes:
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
    device = counters.device
    check(counters, "counters", INT64, (counters.shape[0] if counters.dim() else 0, 4), device)
    check(key, "key", INT64, (2,), device)
    return {"count": counters.shape[0]}


@in_pytorch(philox4x32)
def _philox4x32(p: Arguments) -> Tensor:
    return _philox_words(p.counters, p.key)


def _philox_words(counters: Tensor, key: Tensor) -> Tensor:
    """Philox4x32-10 of counters ``[n, 4]`` under key ``[2]``; 32-bit words held in int64 (Salmon et al., SC 2011)."""
    c0, c1, c2, c3 = _low32(counters).unbind(-1)
    k0, k1 = _low32(key).unbind()
    for _ in range(10):
        product0 = c0 * 0xD2511F53  # wraps modulo 2^64, which leaves all the bits that are read
        product1 = c2 * 0xCD9E8D57
        c0, c1, c2, c3 = (
            _high32(product1) ^ c1 ^ k0,
            _low32(product1),
            _high32(product0) ^ c3 ^ k1,
            _low32(product0),
        )
        k0, k1 = _low32(k0 + 0x9E3779B9), _low32(k1 + 0xBB67AE85)
    return torch.stack([c0, c1, c2, c3], dim=-1)


def _low32(words: Tensor) -> Tensor:
    return words & _MASK32


def _high32(words: Tensor) -> Tensor:
    return (words >> 32) & _MASK32
