"""Op schemas, their checks and their fakes: what each op takes, whichever backend runs it.

Every backend calls the check before it reads a pointer. A check costs a few microseconds, raises ``TypeError`` for a
wrong dtype and ``ValueError`` for a wrong shape, device, layout or number, and names the argument.
"""

from __future__ import annotations

import torch
from torch import Tensor

NAMESPACE = "dimvida"
TABLE_COLUMNS = 8
"""Columns of the step table: sigma, m, a, b, c, d, and two unused that round a row up to 32 bytes."""

MAX_ELEMENTS = 2**34
"""Normals that one sample can draw at once: a 32-bit counter of groups of four."""

LIBRARY = torch.library.Library(NAMESPACE, "DEF")
LIBRARY.define(
    "masked_step_(Tensor(a!) x, Tensor(b!) x0_prev, Tensor out, Tensor known, Tensor table, Tensor step, "
    "Tensor sample_ids, Tensor seed, Tensor? noise, float clip, Tensor(c!)? low) -> ()",
    tags=(torch.Tag.pt2_compliant_tag,),
)
LIBRARY.define(
    "philox_normal_(Tensor(a!) z, Tensor sample_ids, Tensor seed, int draw) -> ()",
    tags=(torch.Tag.pt2_compliant_tag,),
)
LIBRARY.define(
    "group_norm_silu_(Tensor(a!) out, Tensor left, Tensor weight, Tensor bias, int groups, float eps, Tensor? right, "
    "Tensor? rows, Tensor? mask, Tensor? step, Tensor? residual, Tensor(b!)? sum) -> ()",
    tags=(torch.Tag.pt2_compliant_tag,),
)
LIBRARY.define("pack_images(Tensor images) -> Tensor", tags=(torch.Tag.pt2_compliant_tag,))
LIBRARY.define("philox4x32(Tensor counters, Tensor key) -> Tensor", tags=(torch.Tag.pt2_compliant_tag,))

FLOAT32 = (torch.float32,)
FLOATING = (torch.float32, torch.bfloat16, torch.float16)
INTEGER = (torch.int64, torch.int32)
INT64 = (torch.int64,)
BOOL = (torch.bool,)


def _check(
    tensor: Tensor,
    name: str,
    dtypes: tuple[torch.dtype, ...],
    shape: tuple[int, ...],
    device: torch.device,
    *,
    contiguous: bool = True,
) -> None:
    if tensor.dtype not in dtypes:
        wanted = " or ".join(str(dtype).removeprefix("torch.") for dtype in dtypes)
        raise TypeError(f"{name} must be {wanted}, not {str(tensor.dtype).removeprefix('torch.')}")
    if tensor.shape != shape:
        raise ValueError(f"{name} must have shape {list(shape)}, not {list(tensor.shape)}")
    if tensor.device != device:
        raise ValueError(f"{name} is on {tensor.device}, but {device} is where the op runs")
    if not tensor.is_contiguous():
        if contiguous:
            raise ValueError(f"{name} must be contiguous")
        if tensor.numel() and shape[-1] > 1 and tensor.stride(-1) != 1:
            raise ValueError(f"the rows of {name} must be contiguous")


def _refuse_grad(op: str, *tensors: Tensor | None) -> None:
    if not torch.is_grad_enabled():
        return
    if any(tensor is not None and tensor.requires_grad for tensor in tensors):
        raise RuntimeError(f"{op} has no derivative: call it under torch.no_grad()")


def check_masked_step(
    x: Tensor,
    x0_prev: Tensor,
    out: Tensor,
    known: Tensor,
    table: Tensor,
    step: Tensor,
    sample_ids: Tensor,
    seed: Tensor,
    noise: Tensor | None,
    clip: float,
    low: Tensor | None,
) -> None:
    """Raises unless the arguments fit ``masked_step_``."""
    if x.dim() != 3:
        raise ValueError(f"x must have shape [B, V, D], not {list(x.shape)}")
    shape, device = x.shape, x.device
    _check(x, "x", FLOAT32, shape, device)
    _check(x0_prev, "x0_prev", FLOAT32, shape, device)
    _check(out, "out", FLOATING, shape, device)
    _check(known, "known", BOOL, shape[:2], device)
    _check(table, "table", FLOAT32, (table.shape[0] if table.dim() else 0, TABLE_COLUMNS), device)
    _check(step, "step", INTEGER, (1,), device)
    _check(sample_ids, "sample_ids", INT64, shape[:1], device)
    _check(seed, "seed", INT64, (1,), device)
    if noise is not None:
        _check(noise, "noise", FLOAT32, shape, device)
    if low is not None:
        _check(low, "low", FLOATING, shape, device)
    if not clip > 0:  # also refuses NaN
        raise ValueError(f"clip must be positive, or infinity for none, not {clip}")
    if shape[1] * shape[2] > MAX_ELEMENTS:
        raise ValueError(f"V * D must be at most {MAX_ELEMENTS}, not {shape[1] * shape[2]}")
    _refuse_grad("masked_step_", x, x0_prev, out, noise, low)


def check_philox_normal(z: Tensor, sample_ids: Tensor, seed: Tensor, draw: int) -> None:
    """Raises unless the arguments fit ``philox_normal_``."""
    if z.dim() < 1:
        raise ValueError("z must have shape [B, ...], not []")
    shape, device = z.shape, z.device
    _check(z, "z", FLOAT32, shape, device)
    _check(sample_ids, "sample_ids", INT64, shape[:1], device)
    _check(seed, "seed", INT64, (1,), device)
    if not 0 <= draw < 2**32:
        raise ValueError(f"draw must be in [0, 2^32), not {draw}")
    if shape[1:].numel() > MAX_ELEMENTS:
        raise ValueError(f"a sample of z must have at most {MAX_ELEMENTS} elements, not {shape[1:].numel()}")
    _refuse_grad("philox_normal_", z)


def check_group_norm_silu(
    out: Tensor,
    left: Tensor,
    weight: Tensor,
    bias: Tensor,
    groups: int,
    eps: float,
    right: Tensor | None,
    rows: Tensor | None,
    mask: Tensor | None,
    step: Tensor | None,
    residual: Tensor | None,
    sum: Tensor | None,
) -> None:
    """Raises unless the arguments fit ``group_norm_silu_``."""
    if left.dim() != 2 or (right is not None and right.dim() != 2):
        raise ValueError("left and right must have shapes [B, W1] and [B, W2]")
    device, batch = left.device, left.shape[0]
    width = left.shape[1] + (0 if right is None else right.shape[1])
    _check(left, "left", FLOATING, left.shape, device, contiguous=False)
    like_left = (left.dtype,)
    if right is not None:
        _check(right, "right", like_left, (batch, right.shape[1]), device, contiguous=False)
    for tensor, name in ((residual, "residual"), (sum, "sum")):
        if tensor is not None:
            _check(tensor, name, like_left, left.shape, device, contiguous=False)
    _check(out, "out", FLOATING, (batch, width), device, contiguous=False)
    for tensor, name in ((out, "out"), (sum, "sum")):
        if tensor is not None and batch > 1 and tensor.stride(0) < tensor.shape[1]:
            raise ValueError(f"the rows of {name}, which are written, share memory: {tensor.stride(0)} apart")
    _check(weight, "weight", FLOAT32, (width,), device)
    _check(bias, "bias", FLOAT32, (width,), device)
    if groups < 1 or width % groups:
        raise ValueError(f"groups must divide the width {width}, not {groups}")
    if not eps > 0:
        raise ValueError(f"eps must be positive, not {eps}")
    if rows is None and (mask is not None or step is not None):
        raise ValueError("mask and step choose among rows, which are not given")
    if rows is not None:
        if rows.dim() != 3 or not rows.shape[0] or not rows.shape[1]:
            raise ValueError(f"rows must have shape [masks, steps, {width}], not {list(rows.shape)}")
        _check(rows, "rows", FLOAT32, (*rows.shape[:2], width), device, contiguous=False)
    if mask is not None:
        _check(mask, "mask", INT64, (batch,), device)
    if step is not None:
        _check(step, "step", INTEGER, (1,), device)
    _refuse_grad("group_norm_silu_", out, left, weight, bias, right, rows, residual, sum)


def check_pack_images(images: Tensor) -> None:
    """Raises unless the arguments fit ``pack_images``."""
    if images.dim() != 4:
        raise ValueError(f"images must have shape [N, C, H, W], not {list(images.shape)}")
    if images.dtype not in FLOATING:
        raise TypeError(f"images must be float32, bfloat16 or float16, not {str(images.dtype).removeprefix('torch.')}")
    _refuse_grad("pack_images", images)


def packed_like(images: Tensor) -> Tensor:
    """An uninitialised result of ``pack_images``: uint8 [N, H, W, C]."""
    batch, channels, height, width = images.shape
    return images.new_empty((batch, height, width, channels), dtype=torch.uint8)


def check_philox4x32(counters: Tensor, key: Tensor) -> None:
    """Raises unless the arguments fit ``philox4x32``."""
    device = counters.device
    _check(counters, "counters", INT64, (counters.shape[0] if counters.dim() else 0, 4), device)
    _check(key, "key", INT64, (2,), device)


torch.library.register_fake(f"{NAMESPACE}::masked_step_", check_masked_step, lib=LIBRARY)
torch.library.register_fake(f"{NAMESPACE}::philox_normal_", check_philox_normal, lib=LIBRARY)
torch.library.register_fake(f"{NAMESPACE}::group_norm_silu_", check_group_norm_silu, lib=LIBRARY)


@torch.library.register_fake(f"{NAMESPACE}::philox4x32", lib=LIBRARY)
def _fake_philox4x32(counters: Tensor, key: Tensor) -> Tensor:
    check_philox4x32(counters, key)
    return torch.empty_like(counters)


@torch.library.register_fake(f"{NAMESPACE}::pack_images", lib=LIBRARY)
def _fake_pack_images(images: Tensor) -> Tensor:
    check_pack_images(images)
    return packed_like(images)
