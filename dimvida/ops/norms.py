"""The ops of the score networks: the norms and activations between their products."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from dimvida.ops.checks import BOOL, FLOAT32, FLOATING, INT64, INTEGER, check
from dimvida.ops.registration import Arguments, Sizes, declare, in_pytorch


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


@in_pytorch(group_norm_silu_)
def _group_norm_silu(p: Arguments) -> None:
    if p.out.numel() == 0:
        return
    valid = torch.ones(1, dtype=torch.bool, device=p.left.device)
    if p.time_bias is not None and p.step is not None:
        valid = (p.step >= 0) & (p.step < p.time_bias_steps)
        if p.left.device.type == "cpu" and not valid:
            raise IndexError(f"step {int(p.step)} is none of {p.time_bias_steps}")
    v = p.left.float() if p.right is None else torch.cat([p.left.float(), p.right.float()], dim=1)
    if p.time_bias is not None:
        v = v + _time_bias(p)
    # Not torch's group_norm, whose x * scale + (bias - mean * scale) cancels where a group has hardly any variance.
    grouped = v.unflatten(1, (p.groups, -1))  # [B, groups, W / groups]
    deviations = grouped - grouped.mean(-1, keepdim=True)
    scale = 1 / torch.sqrt(deviations.square().mean(-1, keepdim=True) + p.eps)
    normed = functional.silu((deviations * scale).flatten(1) * p.weight + p.bias)
    p.out.copy_(torch.where(valid, normed.to(p.out.dtype), p.out))


def _time_bias(p: Arguments) -> Tensor:
    """``time_bias[table_row, step]`` [B or 1, W]; zeros where there is no such row."""
    if p.step is None:
        at_step = p.time_bias[:, 0]
    else:
        at_step = p.time_bias.index_select(1, p.step.long().clamp(0, p.time_bias_steps - 1))[:, 0]
    if p.table_row is None:
        return at_step[:1]
    inside = (p.table_row >= 0) & (p.table_row < p.time_bias_rows)
    chosen = at_step[p.table_row.clamp(0, p.time_bias_rows - 1)]
    return torch.where(inside[:, None], chosen, p.time_bias.new_zeros(p.width))


@declare(writes=("x", "out"))
def modulated_norm_(
    x: Tensor,
    out: Tensor,
    h: Tensor,
    table: Tensor,
    known: Tensor | None = None,
    step: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-6,
) -> Sizes:
    """A gated residual sum, in place, and the modulated layer norm of the result::

        x   <- x + gate * (h + bias)
        out  = layer_norm(x) * scale + shift

    Gate, shift and scale are a row of the table: row 0 for the tokens of known views, row ``1 + step`` for those of
    missing ones. All arithmetic is float32, the variance is taken in two passes.

    Args:
        x: The tokens of N views, P of each; float32 [N, P, W].
        out: Result, float32, bfloat16 or float16 [N, P, W].
        h: What is added, [N, P, W] in the dtype of out.
        table: Gate, shift and scale, float32 [rows, 3, W]; rows may lie apart.
        known: True for known views, bool [N]; by default none is.
        step: int32 or int64 [1], on the tensors' device; 0 by default.
        bias: float32 [W]; by default there is none.
        eps: Added to the variance, > 0.

    Raises:
        TypeError: A tensor has the wrong dtype.
        ValueError: A tensor has the wrong shape, device or layout, eps is not positive, or x or out shares memory with
            another tensor.
        IndexError: The table has no such row (CPU; elsewhere nothing is changed, since a kernel cannot raise).
        RuntimeError: A floating tensor requires grad while grad mode is on.
    """
    if x.dim() != 3:
        raise ValueError(f"x must have shape [N, P, W], not {list(x.shape)}")
    shape, device = x.shape, x.device
    groups, tokens, width = shape
    check(x, "x", FLOAT32, shape, device)
    check(out, "out", FLOATING, shape, device)
    check(h, "h", (out.dtype,), shape, device)
    rows = table.shape[0] if table.dim() else 0
    if rows < 2:
        raise ValueError(f"table must have shape [rows, 3, {width}] with at least 2 rows, not {list(table.shape)}")
    check(table, "table", FLOAT32, (rows, 3, width), device, contiguous=False)
    if table.numel() and table.stride(1) != width:
        raise ValueError("each row of table must be contiguous")
    if known is not None:
        check(known, "known", BOOL, (groups,), device)
    if step is not None:
        check(step, "step", INTEGER, (1,), device)
    if bias is not None:
        check(bias, "bias", FLOAT32, (width,), device)
    if not eps > 0:
        raise ValueError(f"eps must be positive, not {eps}")
    return {"groups": groups, "tokens": tokens, "width": width, "table_rows": rows}


@in_pytorch(modulated_norm_)
def _modulated_norm(p: Arguments) -> None:
    steps = p.table_rows - 1
    step = torch.zeros(1, dtype=torch.int64, device=p.x.device) if p.step is None else p.step.long()
    valid = (step >= 0) & (step < steps)  # [1]
    if p.x.device.type == "cpu" and p.x.numel() and not valid:
        raise IndexError(f"step {int(step)} is none of {steps}")
    if p.x.numel() == 0:
        return
    missing = p.table.index_select(0, 1 + step.clamp(0, steps - 1))  # [1, 3, W]
    chosen = missing if p.known is None else torch.where(p.known[:, None, None], p.table[:1], missing)
    gate, shift, scale = chosen[:, :, None].unbind(1)  # [1 or N, 1, W] each
    new = p.x + gate * (p.h.float() if p.bias is None else p.h.float() + p.bias)
    deviations = new - new.mean(-1, keepdim=True)
    inverse = 1 / torch.sqrt(deviations.square().mean(-1, keepdim=True) + p.eps)
    p.x.copy_(torch.where(valid, new, p.x))
    p.out.copy_(torch.where(valid, (deviations * inverse * scale + shift).to(p.out.dtype), p.out))


@declare(writes=("x",))
def bias_gelu_(x: Tensor, bias: Tensor) -> Sizes:
    """x <- gelu(x + bias), in place, with GELU's approximation by tanh; computed in float32.

    Args:
        x: float32, bfloat16 or float16 [N, W].
        bias: float32 [W].

    Raises:
        TypeError: A tensor has the wrong dtype.
        ValueError: A tensor has the wrong shape, device or layout, or the two share memory.
        RuntimeError: A tensor requires grad while grad mode is on.
    """
    if x.dim() != 2:
        raise ValueError(f"x must have shape [N, W], not {list(x.shape)}")
    check(x, "x", FLOATING, x.shape, x.device)
    check(bias, "bias", FLOAT32, x.shape[1:], x.device)
    return {"rows": x.shape[0], "width": x.shape[1]}


@in_pytorch(bias_gelu_)
def _bias_gelu(p: Arguments) -> None:
    p.x.copy_(functional.gelu(p.x.float() + p.bias, approximate="tanh"))
