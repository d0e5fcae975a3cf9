"""Tensors that are kept in files so as not to be made again, and are made again where a file is not whole."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from dimvida.files import atomic_write


def keep(path: Path, name: str, tensor: Tensor, key: str) -> None:
    """Write a tensor down, atomically.

    Args:
        path: The file.
        name: What it is called there.
        tensor: On the CPU.
        key: Stands for what it was made of.

    Raises:
        OSError: It cannot be written.
    """
    tensor = tensor.contiguous()
    digest = hashlib.sha256(tensor_bytes(tensor)).hexdigest()
    atomic_write(path, save({name: tensor}, {"key": key, "sha256": digest}))


def kept(path: Path, name: str, key: str) -> Tensor | None:
    """What ``keep`` wrote; None if it is not there, damaged, or made of something else."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("key") != key:
                return None
            tensor = file.get_tensor(name)
    except Exception:  # whatever is wrong with it, to make it again is right
        return None
    return tensor if metadata.get("sha256") == hashlib.sha256(tensor_bytes(tensor)).hexdigest() else None


def tensor_bytes(tensor: Tensor) -> np.ndarray:
    """The bytes of a tensor's elements, in their order."""
    return tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy()
