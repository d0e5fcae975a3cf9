"""The --device option, and the precision of float32 on GPUs."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from dimvida.errors import InputError

if TYPE_CHECKING:
    import torch

FLOAT32_PRODUCTS, FLOAT32_CONVOLUTIONS = "ieee", "tf32"
"""What a GPU computes float32 in, in PyTorch's words.

Matrix products, which are the score network, are exact: that is what ``--dtype float32`` is asked for. Convolutions,
which are the autoencoder, are rounded to TF32: several times as fast, and far below one of 255 levels.
"""


def resolve_device(name: str) -> torch.device:
    """The device of that name, made the current one; ``auto`` is a GPU if there is one.

    A GPU without a number is the first, and under ``torchrun`` that of this rank.

    Raises:
        InputError: There is no such device, or nothing runs on it.
    """
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if name == "cuda" else name)
        if device.type == "cuda":
            set_float32_precision()
            if torch.cuda.is_available():
                torch.cuda.set_device(device)  # before the first tensor: every GPU that is touched keeps some memory
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"--device {name}: not usable here ({str(error).splitlines()[0]})") from None
    return device


def set_float32_precision() -> None:
    """Say what float32 is computed in, whatever the environment and PyTorch's defaults are."""
    import torch

    torch.backends.cuda.matmul.fp32_precision = FLOAT32_PRODUCTS
    torch.backends.cudnn.conv.fp32_precision = FLOAT32_CONVOLUTIONS
