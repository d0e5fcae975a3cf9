"""The --device option."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dimvida.errors import InputError

if TYPE_CHECKING:
    import torch


def resolve_device(name: str) -> torch.device:
    """The device of that name; ``auto`` is the first GPU if there is one.

    Raises:
        InputError: There is no such device, or nothing runs on it.
    """
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"--device {name}: not usable here ({str(error).splitlines()[0]})") from None
    return device
