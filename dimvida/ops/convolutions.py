"""The ops between an autoencoder's convolutions: sums, norms and activations, and the tiles of Winograd's form.

All tensors have channels last, so that a convolution's input and output are images [N, H, W, C] in memory.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from dimvida.ops.checks import FLOAT32, FLOATING, check, root_of_blocks
from dimvida.ops.registration import Arguments, Sizes, declare, in_pytorch

MOST_CHANNELS = 8192
"""Channels of what a convolution made, at most."""

# B^T and A^T of F(4 x 4, 3 x 3) in Lavin and Gray, "Fast algorithms for convolutional neural networks", CVPR 2016.
_WINOGRAD_IN = [
    [4, 0, -5, 0, 1, 0],
    [0, -4, -4, 1, 1, 0],
    [0, 4, -4, -1, 1, 0],
    [0, -2, -1, 2, 1, 0],
    [0, 2, -1, -2, 1, 0],
    [0, 4, 0, -5, 0, 1],
]
_WINOGRAD_OUT = [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]]


@declare(writes=("out", "total"))
def residual_act_(
    out: Tensor,
    made: Tensor,
    bias: Tensor,
    residual: Tensor | None = None,
    total: Tensor | None = None,
    slope: float | None = None,
) -> Sizes:
    """A sum of what a convolution made, its bias and a residual, and the activation after it::

        total = spread(made + bias) + spread(residual)
        out   = leaky(total), or silu(total)

    ``made`` may be of lower resolution than ``out`` by a factor s, its pixels then being blocks of s x s pixels with
    the channels (dy, dx, C): a pixel shuffle. With s = 2 and one row and column more it is the result of a 2 x 2
    convolution of an image that was padded by 1 on all sides, from whose pixel (y, x) block (dy, dx) goes to
    (2 (y - dy) + dy, 2 (x - dx) + dx): so four such convolutions stand for nearest upsampling and a 3 x 3 convolution.
    A residual of lower resolution is repeated. All arithmetic is float32.

    Args:
        out: Result, float32, bfloat16 or float16 [N, H, W, C]; may be ``residual``, or ``made`` where s is 1.
        made: What the convolution made, without its bias, in the dtype of out: [N, H / s, W / s, s s C], or
            [N, H / 2 + 1, W / 2 + 1, 4 C].
        bias: Of made, float32 [s s C].
        residual: In the dtype of out, [N, H / u, W / u, C].
        total: Takes the sum itself, like out; may be what out may be, but not out.
        slope: Of the leaky ReLU below 0; 1 leaves the sum as it is. By default the activation is SiLU.

    Raises:
        TypeError: A tensor has the wrong dtype.
        ValueError: A tensor has the wrong shape or device or is not contiguous, shares memory where it may not, or
            made has more than ``MOST_CHANNELS`` channels.
        RuntimeError: A floating tensor requires grad while grad mode is on.
    """
    return {**_summands(out, made, bias, residual, total), "slope": float("nan") if slope is None else slope}


@in_pytorch(residual_act_)
def _residual_act(p: Arguments) -> None:
    if p.out.numel() == 0:
        return
    v = _sum(p)
    p.out.copy_(functional.silu(v) if math.isnan(p.slope) else torch.where(v > 0, v, p.slope * v))


@declare(writes=("out", "total"))
def residual_norm_silu_(
    out: Tensor,
    made: Tensor,
    bias: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
    groups: int,
    eps: float = 1e-5,
    residual: Tensor | None = None,
    total: Tensor | None = None,
) -> Sizes:
    """The sum of ``residual_act_``, then group norm over all places of an image, and SiLU::

        total = spread(made + bias) + spread(residual)
        out   = silu(group_norm(total) * norm_weight + norm_bias)

    The norm is that of the sum before it is rounded to the dtype of out, in float32, its variance in two passes.

    Args:
        out, made, bias, residual, total: See ``residual_act_``; but made has a row and a column more.
        norm_weight: float32 [C].
        norm_bias: float32 [C].
        groups: Groups of channels normalised together; divides C.
        eps: Added to the variance, > 0.

    Raises:
        TypeError, ValueError, RuntimeError: A tensor does not fit, see ``residual_act_``, or a number is out of range.
    """
    sizes = _summands(out, made, bias, residual, total)
    channels, device = out.shape[3], out.device
    check(norm_weight, "norm_weight", FLOAT32, (channels,), device)
    check(norm_bias, "norm_bias", FLOAT32, (channels,), device)
    if groups < 1 or channels % groups:
        raise ValueError(f"groups must divide the {channels} channels, not {groups}")
    if sizes["overlap"]:
        raise ValueError("made must not have a row and column more than out")
    if not eps > 0:
        raise ValueError(f"eps must be positive, not {eps}")
    return sizes


@in_pytorch(residual_norm_silu_)
def _residual_norm_silu(p: Arguments) -> None:
    if p.out.numel() == 0:
        return
    grouped = _sum(p).unflatten(3, (p.groups, -1))  # [N, H, W, groups, C / groups]
    deviations = grouped - grouped.mean((1, 2, 4), keepdim=True)
    scale = 1 / torch.sqrt(deviations.square().mean((1, 2, 4), keepdim=True) + p.eps)
    p.out.copy_(functional.silu((deviations * scale).flatten(3) * p.norm_weight + p.norm_bias))


def _sum(p: Arguments) -> Tensor:
    """spread(made + bias) + spread(residual), float32 [N, H, W, C]; ``total`` takes it."""
    rows, columns = p.height // p.scale, p.width // p.scale
    blocks = (p.made.float() + p.bias).unflatten(3, (p.scale, p.scale, p.channels))
    begins = [place * p.overlap for place in range(p.scale)]  # of the part of each block that is used
    lines = [
        torch.stack([blocks[:, y : y + rows, x : x + columns, dy, dx] for dx, x in enumerate(begins)], 3)
        for dy, y in enumerate(begins)
    ]
    total = torch.stack(lines, 2).reshape(p.out.shape)  # of [N, rows, dy, columns, dx, C]
    if p.residual is not None:
        spread = p.residual.float().repeat_interleave(p.residual_scale, 1).repeat_interleave(p.residual_scale, 2)
        total = total + spread
    if p.total is not None:
        p.total.copy_(total)
    return total


def _summands(out: Tensor, made: Tensor, bias: Tensor, residual: Tensor | None, total: Tensor | None) -> Sizes:
    """Checks of what stands before an activation, and its sizes."""
    if out.dim() != 4 or made.dim() != 4:
        raise ValueError("out and made must have shapes [N, H, W, C] and [N, H / s, W / s, s s C]")
    (batch, height, width, channels), device = out.shape, out.device
    check(out, "out", FLOATING, out.shape, device)
    kind = (out.dtype,)
    if made.shape[3] > MOST_CHANNELS:
        raise ValueError(f"made must have at most {MOST_CHANNELS} channels, not {made.shape[3]}")
    scale = root_of_blocks(made.shape[3], channels)
    overlap = int(scale == 2 and made.shape[1] != height // 2)
    if height % scale or width % scale:
        raise ValueError(f"out must have whole blocks of {scale} x {scale} pixels, not {height} x {width}")
    made_shape = (batch, height // scale + overlap, width // scale + overlap, scale * scale * channels)
    check(made, "made", kind, made_shape, device)
    check(bias, "bias", FLOAT32, made.shape[3:], device)
    residual_scale = 1
    if residual is not None:
        residual_scale = height // residual.shape[1] if residual.dim() == 4 and residual.shape[1] else 1
        if residual_scale < 1 or height % residual_scale or width % residual_scale:
            raise ValueError(f"residual must repeat to {height} x {width} pixels, not {list(residual.shape)}")
        shape = (batch, height // residual_scale, width // residual_scale, channels)
        check(residual, "residual", kind, shape, device)
    if total is not None:
        check(total, "total", kind, out.shape, device)
    return {
        "batch": batch,
        "height": height,
        "width": width,
        "channels": channels,
        "made_height": made_shape[1],
        "made_width": made_shape[2],
        "scale": scale,
        "overlap": overlap,
        "residual_scale": residual_scale,
    }


@declare(writes=("tiles",))
def images_to_tiles_(tiles: Tensor, images: Tensor) -> Sizes:
    """The numbers that Winograd's form of a 3 x 3 convolution with padding 1 multiplies: ``B^T d B`` of tiles d of
    6 x 6 pixels, one for each 4 x 4 results (Lavin and Gray, CVPR 2016).

    Args:
        tiles: Result, float32 [36, M, C]: the 36 numbers of each tile, in order of image, row and column. M is at least
            the N ceil(H / 4) ceil(W / 4) tiles that there are; what is behind them stays.
        images: float32, bfloat16 or float16 [N, H, W, C].

    Raises:
        TypeError: A tensor has the wrong dtype.
        ValueError: A tensor has the wrong shape or device, is not contiguous or shares memory with the other.
        RuntimeError: A tensor requires grad while grad mode is on.
    """
    return _tiles(tiles, images)


@in_pytorch(images_to_tiles_)
def _images_to_tiles(p: Arguments) -> None:
    if p.images.numel():
        around = functional.pad(p.images.float(), (0, 0, 1, 1 + -p.width % 4, 1, 1 + -p.height % 4))
        d = around.unfold(1, 6, 4).unfold(2, 6, 4)  # [N, H / 4, W / 4, C, 6, 6]
        transform = d.new_tensor(_WINOGRAD_IN)
        t = (transform @ d @ transform.T).flatten(4).flatten(0, 2)  # [N H / 4 W / 4, C, 36]
        p.tiles[:, : len(t)] = t.permute(2, 0, 1)


@declare(writes=("images",))
def tiles_to_images_(images: Tensor, tiles: Tensor) -> Sizes:
    """The results of that convolution: ``A^T m A`` of what the numbers of tiles were multiplied to.

    Args:
        images: Result, float32, bfloat16 or float16 [N, H, W, C].
        tiles: float32 [36, M, C], see ``images_to_tiles_``.

    Raises:
        TypeError, ValueError, RuntimeError: A tensor does not fit, see ``images_to_tiles_``.
    """
    return _tiles(tiles, images)


@in_pytorch(tiles_to_images_)
def _tiles_to_images(p: Arguments) -> None:
    if p.images.numel():
        down, across = -(-p.height // 4), -(-p.width // 4)
        m = p.tiles[:, : p.batch * down * across].permute(1, 2, 0).unflatten(2, (6, 6))
        transform = m.new_tensor(_WINOGRAD_OUT)
        y = (transform @ m @ transform.T).unflatten(0, (p.batch, down, across))  # [N, H / 4, W / 4, C, 4, 4]
        p.images.copy_(y.permute(0, 1, 4, 2, 5, 3).flatten(3, 4).flatten(1, 2)[:, : p.height, : p.width])


def _tiles(tiles: Tensor, images: Tensor) -> Sizes:
    """Checks of images and their tiles, and their sizes."""
    if images.dim() != 4 or tiles.dim() != 3:
        raise ValueError("images and tiles must have shapes [N, H, W, C] and [36, M, C]")
    (batch, height, width, channels), rows = images.shape, tiles.shape[1]
    check(images, "images", FLOATING, images.shape, images.device)
    check(tiles, "tiles", FLOAT32, (36, rows, channels), images.device)
    count = batch * -(-height // 4) * -(-width // 4)
    if rows < count:
        raise ValueError(f"tiles must have at least {count} rows, not {rows}")
    return {"rows": rows, "batch": batch, "height": height, "width": width, "channels": channels}
