"""The native module: whether it is there, what it was built with, and what it does besides the ops."""

from __future__ import annotations

import ctypes
import hashlib
import math
import os
import zlib
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np
from torch import Tensor

from dimvida.errors import InputError

# Imported after torch, which has loaded the OpenMP runtime that the module then shares.
_native: ModuleType | None
try:
    from dimvida.ops import _native

    import_error = ""
except ImportError as error:
    _native, import_error = None, str(error)

SIMD = os.environ.get("DIMVIDA_SIMD", "")
"""The instruction set of the CPU kernels, by default the best one that there is."""


def native_available(device: str = "cpu") -> bool:
    """Whether the ops run natively on a device type, ``"cpu"`` or ``"cuda"``, in this installation."""
    if _native is None:
        return False
    return device == "cpu" or (device == "cuda" and build_info()["cuda"])


def chosen_simd() -> str:
    """What ``DIMVIDA_SIMD`` names, or "" for the best.

    Raises:
        InputError: It names no instruction set that is usable here.
    """
    if SIMD and _native is not None and SIMD not in (usable := _native.build_info()["simd_supported"]):
        raise InputError(f"DIMVIDA_SIMD={SIMD}: choose from {', '.join(usable)}")
    return SIMD


def build_info() -> dict[str, Any]:
    """What the native module was built with; empty if there is none.

    Returns:
        version, compiler, cuda (bool), cuda_version, cuda_archs, simd_compiled, simd_supported and simd (instruction
        sets in the module, usable on this processor, and in use: the last of these, or what DIMVIDA_SIMD names),
        openmp (bool), zlib (its version, or None), cuda_on_host and sanitized (bool, true in builds for tests only).
    """
    if _native is None:
        return {}
    info = _native.build_info()
    return {**info, "simd": SIMD or info["simd"]}


def pointer_of(tensor: Tensor) -> int:
    """The address of a tensor's memory, 0 of one without elements.

    Raises:
        ValueError: It has elements, but no memory.
    """
    pointer = tensor.data_ptr()
    if not pointer and tensor.numel():
        raise ValueError("a tensor has no storage")  # null means absent, so the module cannot tell
    return pointer


_memcmp = ctypes.CDLL(None).memcmp
_memcmp.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)


def same_bits(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> bool:
    """Whether tensors on the CPU hold the same bits, pair by pair; at the speed of memory, other threads going on.

    Raises:
        ValueError: For another number of tensors, or a pair whose shapes, dtypes or devices are not alike.
    """
    for left, right in zip(ours, theirs, strict=True):
        if (left.shape, left.dtype, left.device.type, right.device.type) != (right.shape, right.dtype, "cpu", "cpu"):
            raise ValueError("same_bits compares tensors on the CPU of the same shape and dtype")
        left, right = left.contiguous(), right.contiguous()
        if _memcmp(pointer_of(left), pointer_of(right), left.numel() * left.element_size()):
            return False
    return True


def sha256_rows(rows: np.ndarray) -> list[str]:
    """SHA-256 of each row of an array uint8 [N, ...] in C order, hex; other threads go on meanwhile.

    Where the processor has instructions for it, in one call of the native module and two rows at a time, which takes
    half of the time of ``hashlib``; elsewhere by that.

    Raises:
        ValueError: For numbers of another type or in another order.
    """
    if rows.dtype != np.uint8 or not rows.flags.c_contiguous:
        raise ValueError("sha256_rows takes uint8 in C order")
    if _native is None or not _native.HAS_SHA256 or SIMD == "baseline":
        return [hashlib.sha256(row).hexdigest() for row in rows]
    digests = _native.sha256_rows(rows.ctypes.data, len(rows), math.prod(rows.shape[1:]))
    return [digests[place : place + 64] for place in range(0, len(digests), 64)]


def has_png_files() -> bool:
    """Whether ``png_files`` is there: built with zlib, and with the version that Python has, whose bytes it makes."""
    return build_info().get("zlib") == zlib.ZLIB_RUNTIME_VERSION


def png_files(pictures: np.ndarray) -> list[bytes]:
    """PNG files of pictures uint8 [N, H, W, C] in C order, RGB or gray; only where ``has_png_files()``.

    They are what ``dimvida.data.image_files.run_length_png`` makes, in one call that lets other threads go on: two
    threads that make a call or two for each picture get no further than one (benchmarks/generation.md).

    Raises:
        ValueError: For numbers of another type, in another order or of other channels, and for pictures without pixels
            or of more than a GiB: the chunk of a file holds 2 GiB.
    """
    if pictures.dtype != np.uint8 or not pictures.flags.c_contiguous or pictures.shape[3:] not in ((1,), (3,)):
        raise ValueError("png_files takes uint8 [N, H, W, 1 or 3] in C order")
    if not 0 < math.prod(pictures.shape[1:]) <= 2**30:
        raise ValueError("png_files takes pictures of a byte to a GiB")
    return _native.png_files(pictures.ctypes.data, *pictures.shape)
