"""The --device option."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from dimvida.errors import InputError

if TYPE_CHECKING:
    import torch


def resolve_device(name: str) -> torch.device:
    """The device of that name; ``auto`` is a GPU if there is one.

    A GPU without a number is the first, and under ``torchrun`` that of this rank.

    Raises:
        InputError: There is no such device, or nothing runs on it.
    """
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    rank = os.environ.get("LOCAL_RANK") if name == "cuda" else None
    try:
        device = torch.device(name if rank is None else f"cuda:{rank}")
        if rank is not None:
            torch.cuda.set_device(device)  # before the first tensor: every GPU that is touched keeps some memory
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"--device {name}: not usable here ({str(error).splitlines()[0]})") from None
    return device
