"""The ops on the tokens of a view transformer, declared as those in ``schemas``."""

from __future__ import annotations

from torch import Tensor

from dimvida.ops.checks import BOOL, FLOAT32, FLOATING, INTEGER, check
from dimvida.ops.registration import Sizes, declare


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
