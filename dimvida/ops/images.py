"""The ops of images: as bytes, and as patches whose numbers are the channels of one place."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from dimvida.ops.checks import BOOL, FLOAT32, FLOATING, UINT8, check, name_of, root_of_blocks
from dimvida.ops.registration import Arguments, Sizes, declare, in_pytorch

MOST_NUMBERS = 1024
"""Numbers of a patch, at most."""


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


@in_pytorch(pack_images)
def _pack_images(p: Arguments) -> Tensor:
    return _bytes(p.images)


def _bytes(images: Tensor) -> Tensor:
    """Images [N, C, H, W] meant for [0, 1] as uint8 [N, H, W, C], rounded half to even; NaN becomes 0."""
    levels = images.float().nan_to_num(nan=0.0).clamp(0, 1).mul(255).round()
    return levels.to(torch.uint8).permute(0, 2, 3, 1).contiguous()


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


@in_pytorch(images_to_patches_)
def _images_to_patches(p: Arguments) -> None:
    if p.patches.numel():
        unshuffled = functional.pixel_unshuffle(p.images, p.patch).unflatten(1, (-1, p.patch**2))  # [N, C, r r, ...]
        p.patches.copy_(unshuffled.permute(0, 3, 4, 2, 1).flatten(3))


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


@in_pytorch(patches_to_images_)
def _patches_to_images(p: Arguments) -> None:
    v = p.patches.float() + p.bias
    p.finite.copy_(v.isfinite().flatten(1).all(1))
    if p.images.numel():
        blocks = v.unflatten(3, (p.patch, p.patch, -1)).permute(0, 5, 1, 3, 2, 4)  # [N, C, H / r, r, W / r, r]
        p.images.copy_(_bytes(blocks.flatten(4, 5).flatten(2, 3)))


def _patches(patches: Tensor, colours: int, height: int) -> Sizes:
    """Checks of patches of images with that many colours and rows of pixels, and their sizes."""
    batch, rows, columns, size = patches.shape
    check(patches, "patches", FLOATING, patches.shape, patches.device)
    if size > MOST_NUMBERS:
        raise ValueError(f"a patch must have at most {MOST_NUMBERS} numbers, not {size}")
    patch = root_of_blocks(size, colours)
    if rows * patch != height:
        raise ValueError(f"patches must have {height} / {patch} rows, not {rows}")
    return {"batch": batch, "rows": rows, "columns": columns, "patch": patch, "colours": colours}
