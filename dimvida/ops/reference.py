"""The ops in plain PyTorch: the specification that the kernels are tested against, and the backend where there is none.

Runs on any device and never waits for it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from dimvida.ops import autoencoder_schemas, schemas, token_schemas  # noqa: F401 - declare the ops
from dimvida.ops.registration import implement
from dimvida.ops.winograd_reference import images_to_tiles_, tiles_to_images_  # noqa: F401 - two of them

_MASK32 = 0xFFFFFFFF

# For every device without a kernel of its own.
REFERENCE = implement("CompositeExplicitAutograd")


def _low32(words: Tensor) -> Tensor:
    return words & _MASK32


def _high32(words: Tensor) -> Tensor:
    return (words >> 32) & _MASK32


@REFERENCE
def philox4x32(counters: Tensor, key: Tensor) -> Tensor:
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


def normals(sample_ids: Tensor, seed: Tensor, draw: Tensor, count: int) -> Tensor:
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
    words = philox4x32(counters.reshape(-1, 4), key)
    return normals_of_words(words).reshape(batch, 4 * quads)[:, :count]


@REFERENCE
def philox_normal_(z: Tensor, sample_ids: Tensor, seed: Tensor, draw: int) -> None:
    count = z.shape[1:].numel()
    z.copy_(normals(sample_ids, seed, torch.tensor(draw, device=z.device), count).reshape(z.shape))


@REFERENCE
def masked_step_(
    x: Tensor,  # [B, V, D]
    x0_prev: Tensor,  # [B, V, D]
    model_output: Tensor,  # [B, V, D]
    known: Tensor,  # [B, V]
    table: Tensor,  # [rows, 8]
    step: Tensor,  # [1]
    sample_ids: Tensor,  # [B]
    seed: Tensor,  # [1]
    noise: Tensor | None,  # [B, V, D]
    clip: float | None,
    x_cast: Tensor | None,  # [B, V, D]
) -> None:
    rows = table.shape[0]
    valid = (step >= 0) & (step < rows)  # [1]
    if x.device.type == "cpu" and x.numel() and not valid:
        raise IndexError(f"step {int(step)} is no row of a table of {rows}")
    if x.numel() == 0 or rows == 0:
        return
    missing = (~known & valid)[:, :, None]  # [B, V, 1]
    sigma, m, a, b, c, d, _, _ = table[step.clamp(0, rows - 1)][0].unbind()
    if noise is None:
        draw = step.long() + 1
        noise = normals(sample_ids, seed, draw, x.shape[1] * x.shape[2]).reshape(x.shape)

    # A term whose coefficient is 0 is left out, not multiplied, so that what it would read may hold anything.
    predicts = (b != 0) | (c != 0)
    clip = math.inf if clip is None else clip
    x0 = ((x + sigma * model_output.float()) / m).clamp(-clip, clip)
    new = a * x
    new = torch.where(predicts, new + b * x0, new)
    new = torch.where(c != 0, new + c * x0_prev, new)
    new = torch.where(d != 0, new + d * noise, new)

    x0_prev.copy_(torch.where(missing & predicts, x0, x0_prev))
    x.copy_(torch.where(missing, new, x))
    if x_cast is not None:
        x_cast.copy_(torch.where(valid, x.to(x_cast.dtype), x_cast))


@REFERENCE
def group_norm_silu_(
    out: Tensor,  # [B, W]
    left: Tensor,  # [B, W1]
    weight: Tensor,  # [W]
    bias: Tensor,  # [W]
    groups: int,
    eps: float,
    right: Tensor | None,  # [B, W2]
    time_bias: Tensor | None,  # [rows, steps, W]
    table_row: Tensor | None,  # [B]
    step: Tensor | None,  # [1]
) -> None:
    if out.numel() == 0:
        return
    valid = torch.ones(1, dtype=torch.bool, device=left.device)
    if time_bias is not None and step is not None:
        valid = (step >= 0) & (step < time_bias.shape[1])
        if left.device.type == "cpu" and not valid:
            raise IndexError(f"step {int(step)} is none of {time_bias.shape[1]}")
    v = left.float() if right is None else torch.cat([left.float(), right.float()], dim=1)
    if time_bias is not None:
        v = v + _chosen_rows(time_bias, table_row, step)
    # Not torch's group_norm, whose x * scale + (bias - mean * scale) cancels where a group has hardly any variance.
    grouped = v.unflatten(1, (groups, -1))  # [B, groups, W / groups]
    deviations = grouped - grouped.mean(-1, keepdim=True)
    scale = 1 / torch.sqrt(deviations.square().mean(-1, keepdim=True) + eps)
    normed = functional.silu((deviations * scale).flatten(1) * weight + bias)
    out.copy_(torch.where(valid, normed.to(out.dtype), out))


def _chosen_rows(time_bias: Tensor, table_row: Tensor | None, step: Tensor | None) -> Tensor:
    """``time_bias[table_row, step]`` [B or 1, W]; zeros where there is no such row."""
    rows, steps, width = time_bias.shape
    if step is None:
        at_step = time_bias[:, 0]
    else:
        at_step = time_bias.index_select(1, step.long().clamp(0, steps - 1))[:, 0]
    if table_row is None:
        return at_step[:1]
    inside = (table_row >= 0) & (table_row < rows)
    return torch.where(inside[:, None], at_step[table_row.clamp(0, rows - 1)], time_bias.new_zeros(width))


@REFERENCE
def modulated_norm_(
    x: Tensor,  # [N, P, W]
    out: Tensor,  # [N, P, W]
    h: Tensor,  # [N, P, W]
    table: Tensor,  # [rows, 3, W]
    known: Tensor | None,  # [N]
    step: Tensor | None,  # [1]
    bias: Tensor | None,  # [W]
    eps: float,
) -> None:
    rows = table.shape[0]
    step = torch.zeros(1, dtype=torch.int64, device=x.device) if step is None else step.long()
    valid = (step >= 0) & (step < rows - 1)  # [1]
    if x.device.type == "cpu" and x.numel() and not valid:
        raise IndexError(f"step {int(step)} is none of {rows - 1}")
    if x.numel() == 0:
        return
    missing = table.index_select(0, 1 + step.clamp(0, rows - 2))  # [1, 3, W]
    chosen = missing if known is None else torch.where(known[:, None, None], table[:1], missing)
    gate, shift, scale = chosen[:, :, None].unbind(1)  # [1 or N, 1, W] each
    new = x + gate * (h.float() if bias is None else h.float() + bias)
    deviations = new - new.mean(-1, keepdim=True)
    inverse = 1 / torch.sqrt(deviations.square().mean(-1, keepdim=True) + eps)
    x.copy_(torch.where(valid, new, x))
    out.copy_(torch.where(valid, (deviations * inverse * scale + shift).to(out.dtype), out))


@REFERENCE
def bias_gelu_(x: Tensor, bias: Tensor) -> None:
    x.copy_(functional.gelu(x.float() + bias, approximate="tanh"))


@REFERENCE
def pack_images(images: Tensor) -> Tensor:
    """Images [N, C, H, W] meant for [0, 1] as uint8 [N, H, W, C], rounded half to even; NaN becomes 0."""
    levels = images.float().nan_to_num(nan=0.0).clamp(0, 1).mul(255).round()
    return levels.to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def _sum(out: Tensor, made: Tensor, bias: Tensor, residual: Tensor | None) -> Tensor:
    """spread(made + bias) + spread(residual), float32 [N, H, W, C]."""
    _, height, width, channels = out.shape
    scale = math.isqrt(made.shape[3] // channels)
    rows, columns = height // scale, width // scale
    blocks = (made.float() + bias).unflatten(3, (scale, scale, channels))
    begins = [place * int(made.shape[1] > rows) for place in range(scale)]  # of the part of each block that is used
    lines = [
        torch.stack([blocks[:, y : y + rows, x : x + columns, dy, dx] for dx, x in enumerate(begins)], 3)
        for dy, y in enumerate(begins)
    ]
    total = torch.stack(lines, 2).reshape(out.shape)  # of [N, rows, dy, columns, dx, C]
    if residual is not None:
        factor = height // residual.shape[1]
        total = total + residual.float().repeat_interleave(factor, 1).repeat_interleave(factor, 2)
    return total


@REFERENCE
def residual_act_(
    out: Tensor,  # [N, H, W, C]
    made: Tensor,  # [N, H / s + overlap, W / s + overlap, s s C]
    bias: Tensor,  # [s s C]
    residual: Tensor | None,  # [N, H / u, W / u, C]
    total: Tensor | None,  # [N, H, W, C]
    slope: float | None,
) -> None:
    if out.numel() == 0:
        return
    v = _sum(out, made, bias, residual)
    if total is not None:
        total.copy_(v)
    out.copy_(functional.silu(v) if slope is None else torch.where(v > 0, v, slope * v))


@REFERENCE
def residual_norm_silu_(
    out: Tensor,  # [N, H, W, C]
    made: Tensor,  # [N, H / s + overlap, W / s + overlap, s s C]
    bias: Tensor,  # [s s C]
    norm_weight: Tensor,  # [C]
    norm_bias: Tensor,  # [C]
    groups: int,
    eps: float,
    residual: Tensor | None,  # [N, H / u, W / u, C]
    total: Tensor | None,  # [N, H, W, C]
) -> None:
    if out.numel() == 0:
        return
    v = _sum(out, made, bias, residual)
    if total is not None:
        total.copy_(v)
    grouped = v.unflatten(3, (groups, -1))  # [N, H, W, groups, C / groups]
    deviations = grouped - grouped.mean((1, 2, 4), keepdim=True)
    scale = 1 / torch.sqrt(deviations.square().mean((1, 2, 4), keepdim=True) + eps)
    out.copy_(functional.silu((deviations * scale).flatten(3) * norm_weight + norm_bias))


@REFERENCE
def images_to_patches_(patches: Tensor, images: Tensor) -> None:  # [N, H / r, W / r, r r C], [N, C, H, W]
    if patches.numel():
        patch = images.shape[2] // patches.shape[1]
        unshuffled = functional.pixel_unshuffle(images, patch).unflatten(1, (-1, patch * patch))  # [N, C, r r, ...]
        patches.copy_(unshuffled.permute(0, 3, 4, 2, 1).flatten(3))


@REFERENCE
def patches_to_images_(
    images: Tensor,  # [N, H, W, C]
    finite: Tensor,  # [N]
    patches: Tensor,  # [N, H / r, W / r, r r C]
    bias: Tensor,  # [r r C]
) -> None:
    v = patches.float() + bias
    finite.copy_(v.isfinite().flatten(1).all(1))
    if images.numel():
        patch = images.shape[1] // patches.shape[1]
        blocks = v.unflatten(3, (patch, patch, -1)).permute(0, 5, 1, 3, 2, 4)  # [N, C, H / r, r, W / r, r]
        images.copy_(pack_images(blocks.flatten(4, 5).flatten(2, 3)))
