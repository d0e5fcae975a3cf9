"""The ops: for each a signature, what it means, and the check of what it is given. Those on tokens: ``token_schemas``.

From a signature come the op's schema, its public function, its fake and its registration; the kernels are filled by the
same names (``registration``). Every backend checks before it reads a pointer. A check costs a few microseconds, raises
``TypeError`` for a wrong dtype and ``ValueError`` for a wrong shape, device, layout or number, and names the argument.
It returns the sizes that the kernels take besides the arguments, named like the fields of their parameter struct.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dimvida.diffusion.step_table import TABLE_COLUMNS
from dimvida.ops.checks import BOOL, FLOAT32, FLOATING, INT64, INTEGER, check, name_of
from dimvida.ops.registration import Sizes, declare

MAX_ELEMENTS = 2**34
"""Normals that one sample can draw at once: a 32-bit counter of groups of four."""


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


@declare(writes=("out",))
def group_norm_silu_(
    out: Tensor,
    left: Tensor,
    weight: Tensor,
    bias: Tensor,
    groups: int,
    eps: float = 1e-5,
    right: Tensor | None = None,
    time_bias: Tensor | None = None,
    table_row: Tensor | None = None,
    step: Tensor | None = None,
) -> Sizes:
    """Group norm and SiLU of a row, with what the score network adds just before::

        v   = cat[left, right] + time_bias[table_row, step]
        out = silu(group_norm(v) * weight + bias)

    Matrices may be views whose rows lie apart. All arithmetic is float32, the variance is taken in two passes.

    Args:
        out: Result, float32, bfloat16 or float16 [B, W1 + W2]; shares no memory with the other tensors.
        left: First columns, float32, bfloat16 or float16 [B, W1].
        weight: float32 [W1 + W2].
        bias: float32 [W1 + W2].
        groups: Groups of columns normalised together; divides W1 + W2, and need not respect where right starts.
        eps: Added to the variance, > 0.
        right: The other columns, [B, W2] in the dtype of left.
        time_bias: What is added to each sample, float32 [rows, steps, W1 + W2].
        table_row: First index into time_bias, int64 [B]; 0 by default. A sample whose index is none of its rows is
            added nothing.
        step: Second index into time_bias, int32 or int64 [1], on the tensors' device; 0 by default.

    Raises:
        TypeError: A tensor has the wrong dtype.
        ValueError: A tensor has the wrong shape, device or layout, a number is out of range, or what is written shares
            memory with another tensor or, row by row, with itself.
        IndexError: step is none of time_bias (CPU; elsewhere nothing is changed, since a kernel cannot raise).
        RuntimeError: A floating tensor requires grad while grad mode is on.
    """
    if left.dim() != 2 or (right is not None and right.dim() != 2):
        raise ValueError("left and right must have shapes [B, W1] and [B, W2]")
    device, (batch, left_width) = left.device, left.shape
    width = left_width + (0 if right is None else right.shape[1])
    check(left, "left", FLOATING, left.shape, device, contiguous=False)
    if right is not None:
        check(right, "right", (left.dtype,), (batch, right.shape[1]), device, contiguous=False)
    check(out, "out", FLOATING, (batch, width), device, contiguous=False)
    if batch > 1 and out.stride(0) < width:
        raise ValueError(f"the rows of out, which are written, share memory: {out.stride(0)} apart")
    check(weight, "weight", FLOAT32, (width,), device)
    check(bias, "bias", FLOAT32, (width,), device)
    if groups < 1 or width % groups:
        raise ValueError(f"groups must divide the width {width}, not {groups}")
    if not eps > 0:
        raise ValueError(f"eps must be positive, not {eps}")
    if time_bias is None and (table_row is not None or step is not None):
        raise ValueError("table_row and step are indices into time_bias, which is not given")
    rows = steps = row_stride = step_stride = 0
    if time_bias is not None:
        if time_bias.dim() != 3 or not time_bias.shape[0] or not time_bias.shape[1]:
            raise ValueError(f"time_bias must have shape [rows, steps, {width}], not {list(time_bias.shape)}")
        check(time_bias, "time_bias", FLOAT32, (*time_bias.shape[:2], width), device, contiguous=False)
        rows, steps, _ = time_bias.shape
        row_stride, step_stride, _ = time_bias.stride()
    if table_row is not None:
        check(table_row, "table_row", INT64, (batch,), device)
    if step is not None:
        check(step, "step", INTEGER, (1,), device)
    return {
        "batch": batch,
        "width": width,
        "left_width": left_width,
        "time_bias_rows": rows,
        "time_bias_steps": steps,
        "time_bias_row_stride": row_stride,
        "time_bias_step_stride": step_stride,
    }


def _packed(images: Tensor) -> Tensor:
    batch, channels, height, width = images.shape
    return images.new_empty((batch, height, width, channels), dtype=torch.uint8)


@declare(result=("packed", _packed))
def pack_images(images: Tensor) -> Sizes:
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
    if images.dim() != 4:
        raise ValueError(f"images must have shape [N, C, H, W], not {list(images.shape)}")
    if images.dtype not in FLOATING:
        raise TypeError(f"images must be float32, bfloat16 or float16, not {name_of(images.dtype)}")
    axes = ("batch", "channel", "height", "width")
    strides = {f"{axis}_stride": stride for axis, stride in zip(axes, images.stride(), strict=True)}
    return {**dict(zip(("batch", "channels", "height", "width"), images.shape, strict=True)), **strides}


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
