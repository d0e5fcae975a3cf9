"""The ops on the native module: pointers are taken here and nowhere else, after the checks.

The module's parameter classes are filled by name: with the address of each tensor and, where they have such a field,
its ``<name>_dtype`` and the distance of its rows, ``<name>_stride``; with each number; and with the sizes that the
check found. The module itself refuses tensors that share memory with one that is written. A build without CUDA, or none
at all, leaves an op to the PyTorch reference.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import math
import os
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dimvida.errors import InputError
from dimvida.ops import autoencoder_schemas, schemas, token_schemas  # noqa: F401 - declare the ops
from dimvida.ops.registration import LIBRARY, OPS, Op, Sizes

# Imported after torch, which has loaded the OpenMP runtime that the module then shares.
_native: ModuleType | None
try:
    from dimvida.ops import _native

    import_error = ""
except ImportError as error:
    _native, import_error = None, str(error)

SIMD = os.environ.get("DIMVIDA_SIMD", "")
"""The instruction set of the CPU kernels, by default the best one that there is."""

_USABLE: list[str] = [] if _native is None else _native.build_info()["simd_supported"]

_DTYPE_CODES = {} if _native is None else {getattr(torch, name): code for name, code in _native.DTYPES.items()}


def native_available(device: str = "cpu") -> bool:
    """Whether the ops run natively on a device type, ``"cpu"`` or ``"cuda"``, in this installation."""
    if _native is None:
        return False
    return device == "cpu" or (device == "cuda" and build_info()["cuda"])


def build_info() -> dict[str, Any]:
    """What the native module was built with; empty if there is none.

    Returns:
        version, compiler, cuda (bool), cuda_version, cuda_archs, simd_compiled, simd_supported and simd (instruction
        sets in the module, usable on this processor, and in use: the last of these, or what DIMVIDA_SIMD names),
        openmp (bool), cuda_on_host and sanitized (bool, true in builds for tests only).
    """
    if _native is None:
        return {}
    info = _native.build_info()
    return {**info, "simd": SIMD or info["simd"]}


def _pointer(tensor: Tensor) -> int:
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
        if _memcmp(_pointer(left), _pointer(right), left.numel() * left.element_size()):
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


class _Kernel:
    """An op's kernels: its parameter class, and how that is filled."""

    def __init__(self, op: Op) -> None:
        name = op.name.removesuffix("_")
        self.op = op
        self.params = getattr(_native, f"{name}_params")
        self.cpu, self.cuda = getattr(_native, f"{name}_cpu"), getattr(_native, f"{name}_cuda", None)
        tensors = {name: str(kind.annotation).startswith("Tensor") for name, kind in op.signature.parameters.items()}
        if op.result:
            tensors[op.result[0]] = True
        # Of each argument: its name, whether it is a tensor, and the fields that it fills besides that of its name.
        fields = self.params.FIELDS
        self.places = [
            (
                name,
                is_tensor,
                *(f"{name}_{kind}" if f"{name}_{kind}" in fields else None for kind in ("dtype", "stride")),
            )
            for name, is_tensor in tensors.items()
        ]

    def fill(self, sizes: Sizes, arguments: Sequence[Any]) -> Any:
        """The parameters: arguments in order, then the result if there is one, and the sizes that the check found."""
        fields = sizes
        for (name, is_tensor, dtype, stride), value in zip(self.places, arguments, strict=True):
            if not is_tensor:
                fields.setdefault(name, value)
            elif value is not None:
                fields[name] = _pointer(value)
                if dtype:
                    fields[dtype] = _DTYPE_CODES[value.dtype]
                if stride:
                    fields[stride] = value.stride(0)
            else:
                if dtype:
                    fields[dtype] = 0
                if stride:
                    fields[stride] = 0
        return self.params(fields)

    def prepare(self, arguments: Sequence[Any]) -> tuple[Any, Tensor | None]:
        """The parameters of checked arguments, and the uninitialised result if the op returns one."""
        op = self.op
        arguments = op.completed(arguments)
        sizes = op.check(*arguments)
        if op.result is None:
            return self.fill(sizes, arguments), None
        result = op.result[1](*arguments)
        return self.fill(sizes, [*arguments, result]), result


_KERNELS: dict[str, _Kernel] = {} if _native is None else {name: _Kernel(op) for name, op in OPS.items()}


def on_cpu(name: str, *arguments: Any, threads: int | None = None, simd: str | None = None) -> Tensor | None:
    """An op on its CPU kernel; the number of threads and the instruction set change its speed and nothing else.

    Args:
        name: The op's name.
        arguments: Its arguments in order.
        threads: By default torch's.
        simd: By default that of ``DIMVIDA_SIMD``, or the best.

    Raises:
        InputError: If the variable names no instruction set that is usable here.
        TypeError, ValueError, IndexError, RuntimeError: As the op.
    """
    if simd is None and SIMD and SIMD not in _USABLE:
        raise InputError(f"DIMVIDA_SIMD={SIMD}: choose from {', '.join(_USABLE)}")
    kernel = _KERNELS[name]
    params, result = kernel.prepare(arguments)
    status = kernel.cpu(params, threads or torch.get_num_threads(), SIMD if simd is None else simd)
    if status == _native.STEP_OUT_OF_RANGE:
        raise IndexError(f"{name}: step is out of range")
    return result


def _on_cuda(name: str, *arguments: Any) -> Tensor | None:
    """An op on its CUDA kernel, on torch's current stream of the tensors' device."""
    kernel = _KERNELS[name]
    params, result = kernel.prepare(arguments)
    with torch.cuda.device(arguments[0].device):
        status = kernel.cuda(params, torch.cuda.current_stream().cuda_stream)
    if status:
        raise RuntimeError(f"{name}: {_native.cuda_error_string(status)}")
    return result


for _name in OPS:
    if native_available("cpu"):
        LIBRARY.impl(_name, functools.partial(on_cpu, _name), "CPU")
    if native_available("cuda") and _KERNELS[_name].cuda is not None:
        LIBRARY.impl(_name, functools.partial(_on_cuda, _name), "CUDA")
