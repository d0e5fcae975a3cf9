"""The ops on the native module: pointers are taken here and nowhere else, after the checks.

The module itself refuses tensors that share memory with one that is written. A build without CUDA, or none at all,
leaves the op to the PyTorch reference.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from dimvida.errors import InputError
from dimvida.ops import schemas

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

_DTYPE_CODES = {torch.float32: 0, torch.bfloat16: 1, torch.float16: 2}


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


def _masked_step_params(
    x: Tensor,
    x0_prev: Tensor,
    out: Tensor,
    known: Tensor,
    table: Tensor,
    step: Tensor,
    sample_ids: Tensor,
    seed: Tensor,
    noise: Tensor | None,
    clip: float,
    low: Tensor | None,
) -> Any:
    schemas.check_masked_step(x, x0_prev, out, known, table, step, sample_ids, seed, noise, clip, low)
    p = _native.MaskedStepParams()
    p.x, p.x0_prev, p.out = _pointer(x), _pointer(x0_prev), _pointer(out)
    p.known, p.table, p.step = _pointer(known), _pointer(table), _pointer(step)
    p.sample_ids, p.seed = _pointer(sample_ids), _pointer(seed)
    p.batch, p.views, p.dim = x.shape
    p.rows, p.clip = table.shape[0], clip
    p.out_dtype, p.step_is_int64 = _DTYPE_CODES[out.dtype], step.dtype == torch.int64
    if noise is not None:
        p.noise = _pointer(noise)
    if low is not None:
        p.low, p.low_dtype = _pointer(low), _DTYPE_CODES[low.dtype]
    return p


def _philox_normal_params(z: Tensor, sample_ids: Tensor, seed: Tensor, draw: int) -> Any:
    schemas.check_philox_normal(z, sample_ids, seed, draw)
    p = _native.PhiloxNormalParams()
    p.z, p.sample_ids, p.seed = _pointer(z), _pointer(sample_ids), _pointer(seed)
    p.batch, p.count, p.draw = z.shape[0], z.shape[1:].numel(), draw
    return p


def _group_norm_silu_params(
    out: Tensor,
    left: Tensor,
    weight: Tensor,
    bias: Tensor,
    groups: int,
    eps: float,
    right: Tensor | None,
    rows: Tensor | None,
    mask: Tensor | None,
    step: Tensor | None,
    residual: Tensor | None,
    sum: Tensor | None,
) -> Any:
    schemas.check_group_norm_silu(out, left, weight, bias, groups, eps, right, rows, mask, step, residual, sum)
    p = _native.GroupNormSiluParams()
    matrices = {"out": out, "left": left, "right": right, "residual": residual, "sum": sum}
    for name, tensor in matrices.items():
        if tensor is not None:
            setattr(p, name, _pointer(tensor))
            setattr(p, f"{name}_stride", tensor.stride(0))
    p.weight, p.bias = _pointer(weight), _pointer(bias)
    p.batch, p.width = out.shape
    p.left_width, p.groups, p.eps = left.shape[1], groups, eps
    if rows is not None:
        p.rows = _pointer(rows)
        p.masks, p.steps, _ = rows.shape
        p.mask_stride, p.step_stride, _ = rows.stride()
    if mask is not None:
        p.mask = _pointer(mask)
    if step is not None:
        p.step, p.step_is_int64 = _pointer(step), step.dtype == torch.int64
    p.in_dtype, p.out_dtype = _DTYPE_CODES[left.dtype], _DTYPE_CODES[out.dtype]
    return p


def _pack_images_params(images: Tensor, packed: Tensor) -> Any:
    p = _native.PackImagesParams()
    p.images, p.out = _pointer(images), _pointer(packed)
    p.batch, p.channels, p.height, p.width = images.shape
    p.batch_stride, p.channel_stride, p.height_stride, p.width_stride = images.stride()
    p.in_dtype = _DTYPE_CODES[images.dtype]
    return p


def _philox_words_params(counters: Tensor, key: Tensor, words: Tensor) -> Any:
    p = _native.PhiloxWordsParams()
    p.counters, p.key, p.words = _pointer(counters), _pointer(key), _pointer(words)
    p.count = counters.shape[0]
    return p


# The CPU kernels. The number of threads and the instruction set change the speed and nothing else.


def _kernels(threads: int | None, simd: str | None) -> tuple[int, str]:
    """What runs them: by default torch's threads, and the instruction set of ``DIMVIDA_SIMD`` or the best.

    Raises:
        InputError: If the variable names none that is usable here.
    """
    if simd is None and SIMD and SIMD not in _USABLE:
        raise InputError(f"DIMVIDA_SIMD={SIMD}: choose from {', '.join(_USABLE)}")
    return threads or torch.get_num_threads(), SIMD if simd is None else simd


def masked_step_cpu_(*arguments: Any, threads: int | None = None, simd: str | None = None) -> None:
    """``masked_step_`` with a chosen number of threads and instruction set."""
    params = _masked_step_params(*arguments)
    status = _native.masked_step_cpu(params, *_kernels(threads, simd))
    if status == _native.STEP_OUT_OF_RANGE:
        raise IndexError("masked_step_: step is no row of the table")


def group_norm_silu_cpu_(*arguments: Any, threads: int | None = None, simd: str | None = None) -> None:
    """``group_norm_silu_`` with a chosen number of threads and instruction set."""
    params = _group_norm_silu_params(*arguments)
    status = _native.group_norm_silu_cpu(params, *_kernels(threads, simd))
    if status == _native.STEP_OUT_OF_RANGE:
        raise IndexError("group_norm_silu_: step is none of rows")


def pack_images_cpu(images: Tensor, *, threads: int | None = None, simd: str | None = None) -> Tensor:
    """``pack_images`` with a chosen number of threads and instruction set."""
    schemas.check_pack_images(images)
    packed = schemas.packed_like(images)
    _native.pack_images_cpu(_pack_images_params(images, packed), *_kernels(threads, simd))
    return packed


def philox_normal_cpu_(*arguments: Any, threads: int | None = None, simd: str | None = None) -> None:
    """``philox_normal_`` with a chosen number of threads and instruction set."""
    params = _philox_normal_params(*arguments)
    _native.philox_normal_cpu(params, *_kernels(threads, simd))


def philox4x32_cpu(counters: Tensor, key: Tensor, *, threads: int | None = None, simd: str | None = None) -> Tensor:
    """``philox4x32`` with a chosen number of threads and instruction set."""
    schemas.check_philox4x32(counters, key)
    words = torch.empty_like(counters)
    params = _philox_words_params(counters, key, words)
    _native.philox_words_cpu(params, *_kernels(threads, simd))
    return words


# The CUDA kernels, on torch's current stream of the tensors' device.


def _launch(kernel: Callable[[Any, int], int], params: Any, device: torch.device) -> None:
    with torch.cuda.device(device):
        status = kernel(params, torch.cuda.current_stream().cuda_stream)
    if status:
        raise RuntimeError(f"{kernel.__name__}: {_native.cuda_error_string(status)}")


def _masked_step_cuda_(*arguments: Any) -> None:
    _launch(_native.masked_step_cuda, _masked_step_params(*arguments), arguments[0].device)


def _group_norm_silu_cuda_(*arguments: Any) -> None:
    _launch(_native.group_norm_silu_cuda, _group_norm_silu_params(*arguments), arguments[0].device)


def _pack_images_cuda(images: Tensor) -> Tensor:
    schemas.check_pack_images(images)
    packed = schemas.packed_like(images)
    _launch(_native.pack_images_cuda, _pack_images_params(images, packed), images.device)
    return packed


def _philox_normal_cuda_(*arguments: Any) -> None:
    _launch(_native.philox_normal_cuda, _philox_normal_params(*arguments), arguments[0].device)


def _philox4x32_cuda(counters: Tensor, key: Tensor) -> Tensor:
    schemas.check_philox4x32(counters, key)
    words = torch.empty_like(counters)
    _launch(_native.philox_words_cuda, _philox_words_params(counters, key, words), counters.device)
    return words


if native_available("cpu"):
    schemas.LIBRARY.impl("group_norm_silu_", group_norm_silu_cpu_, "CPU")
    schemas.LIBRARY.impl("masked_step_", masked_step_cpu_, "CPU")
    schemas.LIBRARY.impl("pack_images", pack_images_cpu, "CPU")
    schemas.LIBRARY.impl("philox_normal_", philox_normal_cpu_, "CPU")
    schemas.LIBRARY.impl("philox4x32", philox4x32_cpu, "CPU")
if native_available("cuda"):
    schemas.LIBRARY.impl("group_norm_silu_", _group_norm_silu_cuda_, "CUDA")
    schemas.LIBRARY.impl("masked_step_", _masked_step_cuda_, "CUDA")
    schemas.LIBRARY.impl("pack_images", _pack_images_cuda, "CUDA")
    schemas.LIBRARY.impl("philox_normal_", _philox_normal_cuda_, "CUDA")
    schemas.LIBRARY.impl("philox4x32", _philox4x32_cuda, "CUDA")
