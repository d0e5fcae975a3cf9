"""What the checks of all ops have in common: the kinds of dtype, and how one tensor is looked at."""

from __future__ import annotations

import torch
from torch import Tensor

FLOAT32 = (torch.float32,)
FLOATING = (torch.float32, torch.bfloat16, torch.float16)
INTEGER = (torch.int64, torch.int32)
INT64 = (torch.int64,)
BOOL = (torch.bool,)
UINT8 = (torch.uint8,)


def check(
    tensor: Tensor,
    name: str,
    dtypes: tuple[torch.dtype, ...],
    shape: tuple[int, ...],
    device: torch.device,
    *,
    contiguous: bool | None = True,
) -> None:
    """Raise unless a tensor fits: TypeError for its dtype, ValueError for the rest, with its name in both.

    Args:
        tensor: An argument of an op.
        name: What the op's signature calls the argument.
        dtypes, shape, device: The dtypes it may have, and the shape and device that it must have.
        contiguous: False for a matrix whose rows may lie apart, None for any strides.
    """
    if tensor.dtype not in dtypes:
        raise TypeError(f"{name} must be {' or '.join(map(name_of, dtypes))}, not {name_of(tensor.dtype)}")
    if tensor.shape != shape:
        raise ValueError(f"{name} must have shape {list(shape)}, not {list(tensor.shape)}")
    if tensor.device != device:
        raise ValueError(f"{name} is on {tensor.device}, but {device} is where the op runs")
    if contiguous is not None and not tensor.is_contiguous():
        if contiguous:
            raise ValueError(f"{name} must be contiguous")
        if tensor.numel() and shape[-1] > 1 and tensor.stride(-1) != 1:
            raise ValueError(f"the rows of {name} must be contiguous")


def name_of(dtype: torch.dtype) -> str:
    """A dtype's name without the module, as ``float32``."""
    return str(dtype).removeprefix("torch.")


def root_of_blocks(count: int, channels: int) -> int:
    """The s with count = s s channels; raises ValueError where there is none."""
    scale = 1
    while channels and scale * scale * channels < count:
        scale += 1
    if scale * scale * channels != count:
        raise ValueError(f"{count} channels are not s x s blocks of {channels}")
    return scale
