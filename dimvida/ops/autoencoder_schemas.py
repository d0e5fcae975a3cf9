"""The ops between an autoencoder's convolutions, and those at its ends: signatures and checks, as in ``schemas``.

All tensors have channels last, so that a convolution's input and output are images [N, H, W, C] in memory.
"""

from __future__ import annotations

from torch import Tensor

from dimvida.ops.checks import BOOL, FLOAT32, FLOATING, UINT8, check
from dimvida.ops.registration import Sizes, declare

MOST_CHANNELS = 8192
"""Channels of what a convolution made, at most."""

MOST_NUMBERS = 1024
"""Numbers of a patch, at most."""


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
        out, made, bias, residual, total: As there, but for made with a row and column more.
        norm_weight: float32 [C].
        norm_bias: float32 [C].
        groups: Groups of channels normalised together; divides C.
        eps: Added to the variance, > 0.

    Raises:
        TypeError, ValueError, RuntimeError: As there, and for a number out of range.
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


@declare(writes=("patches",))
def images_to_patches_(patches: Tensor, images: Tensor) -> Sizes:
    """Bytes as numbers 0..255, the r x r pixels of a patch as channels: a pixel unshuffle, the colour fastest.

    Args:
        patches: Result, float32, bfloat16 or float16 [N, H / r, W / r, r r C].
        images: uint8 [N, C, H, W], of any strides.

    Raises:
        TypeError: A tensor has the wrong dtype.
        ValueError: A tensor has the wrong shape or device, patches is not contiguous or shares memory with images, or
            a patch has more than ``MOST_NUMBERS`` numbers.
        RuntimeError: patches requires grad while grad mode is on.
    """
    if images.dim() != 4 or patches.dim() != 4:
        raise ValueError("images and patches must have shapes [N, C, H, W] and [N, H / r, W / r, r r C]")
    sizes = _patches(patches, images.shape[1], images.shape[2])
    shape = (sizes["batch"], sizes["colours"], sizes["rows"] * sizes["patch"], sizes["columns"] * sizes["patch"])
    check(images, "images", UINT8, shape, patches.device, contiguous=None)
    axes = ("batch", "colour", "height", "width")
    return {**sizes, **{f"{axis}_stride": stride for axis, stride in zip(axes, images.stride(), strict=True)}}


@declare(writes=("images", "finite"))
def patches_to_images_(images: Tensor, finite: Tensor, patches: Tensor, bias: Tensor) -> Sizes:
    """Patches as bytes, a pixel shuffle: round(255 clamp(patches + bias, 0, 1)), ties to even, 0 for NaN.

    Args:
        images: Result, uint8 [N, H, W, C].
        finite: Whether every sum of an image was finite, bool [N].
        patches: float32, bfloat16 or float16 [N, H / r, W / r, r r C], meant for [0, 1] with the bias.
        bias: float32 [r r C].

    Raises:
        TypeError: A tensor has the wrong dtype.
        ValueError: A tensor has the wrong shape or device, is not contiguous or shares memory with a written one, or
            a patch has more than ``MOST_NUMBERS`` numbers.
        RuntimeError: patches or bias requires grad while grad mode is on.
    """
    if images.dim() != 4 or patches.dim() != 4:
        raise ValueError("images and patches must have shapes [N, H, W, C] and [N, H / r, W / r, r r C]")
    sizes, device = _patches(patches, images.shape[3], images.shape[1]), patches.device
    patch = sizes["patch"]
    shape = (sizes["batch"], sizes["rows"] * patch, sizes["columns"] * patch, sizes["colours"])
    check(images, "images", UINT8, shape, device)
    check(finite, "finite", BOOL, shape[:1], device)
    check(bias, "bias", FLOAT32, patches.shape[3:], device)
    return sizes


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


@declare(writes=("images",))
def tiles_to_images_(images: Tensor, tiles: Tensor) -> Sizes:
    """The results of that convolution: ``A^T m A`` of what the numbers of tiles were multiplied to.

    Args:
        images: Result, float32, bfloat16 or float16 [N, H, W, C].
        tiles: float32 [36, M, C], see ``images_to_tiles_``.

    Raises:
        TypeError, ValueError, RuntimeError: As there.
    """
    return _tiles(tiles, images)


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


def _summands(out: Tensor, made: Tensor, bias: Tensor, residual: Tensor | None, total: Tensor | None) -> Sizes:
    """Checks of what stands before an activation, and its sizes."""
    if out.dim() != 4 or made.dim() != 4:
        raise ValueError("out and made must have shapes [N, H, W, C] and [N, H / s, W / s, s s C]")
    (batch, height, width, channels), device = out.shape, out.device
    check(out, "out", FLOATING, out.shape, device)
    kind = (out.dtype,)
    if made.shape[3] > MOST_CHANNELS:
        raise ValueError(f"made must have at most {MOST_CHANNELS} channels, not {made.shape[3]}")
    scale = _root(made.shape[3], channels)
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


def _patches(patches: Tensor, colours: int, height: int) -> Sizes:
    """Checks of patches of images with that many colours and rows of pixels, and their sizes."""
    batch, rows, columns, size = patches.shape
    check(patches, "patches", FLOATING, patches.shape, patches.device)
    if size > MOST_NUMBERS:
        raise ValueError(f"a patch must have at most {MOST_NUMBERS} numbers, not {size}")
    patch = _root(size, colours)
    if rows * patch != height:
        raise ValueError(f"patches must have {height} / {patch} rows, not {rows}")
    return {"batch": batch, "rows": rows, "columns": columns, "patch": patch, "colours": colours}


def _root(count: int, channels: int) -> int:
    """The s with count = s s channels; raises ValueError where there is none."""
    scale = 1
    while channels and scale * scale * channels < count:
        scale += 1
    if scale * scale * channels != count:
        raise ValueError(f"{count} channels are not s x s blocks of {channels}")
    return scale
