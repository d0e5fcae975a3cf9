"""What samples are computed with: a backend, a dtype and torch's modes, whatever a caller's torch is set to."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor

from dimvida import ops
from dimvida.errors import InputError, require_choice

P = ParamSpec("P")
R = TypeVar("R")

BACKENDS = ("auto", "eager", "fused")

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
"""What the fused engine can multiply in."""


def resolve_backend(backend: str, device: torch.device) -> str:
    """``eager`` or ``fused``, whichever a backend's name means on a device.

    Raises:
        InputError: For an unknown backend, ``fused`` where the native module does not serve the device, or if
            ``DIMVIDA_SIMD`` names kernels that do not run here.
    """
    require_choice("unknown backend", backend, BACKENDS)
    native = ops.native_available(device.type)
    if native and backend != "eager" and device.type == "cpu":
        ops.native.chosen_simd()  # at once, and not where the first kernel is launched
    if backend == "fused" and not native:
        raise InputError(
            f"backend 'fused' has no native kernels for {device.type}; run `dimvida doctor`, or use 'eager'"
        )
    return "eager" if backend == "eager" or not native else "fused"


def resolve_dtype(dtype: torch.dtype | None, backend: str, device: torch.device) -> torch.dtype:
    """What the network is computed in by a resolved backend: ``dtype``, or the best one where it is None.

    Raises:
        InputError: For a dtype that the backend does not offer.
    """
    if backend == "eager":
        if dtype not in (None, torch.float32):
            raise InputError(f"backend 'eager' computes in float32, not {str(dtype).removeprefix('torch.')}")
        return torch.float32
    if dtype is None:
        return default_dtype(device)
    if dtype not in DTYPES:
        raise InputError(f"dtype {dtype!r}: choose from {', '.join(map(str, DTYPES))}")
    return dtype


def default_dtype(device: torch.device) -> torch.dtype:
    """What ``DIMVIDA_DTYPE`` says; else bfloat16 where the hardware multiplies it natively, and float32 elsewhere.

    Raises:
        InputError: If the variable names no dtype.
    """
    if name := os.environ.get("DIMVIDA_DTYPE"):
        named = {str(dtype).removeprefix("torch."): dtype for dtype in DTYPES}
        if name not in named:
            raise InputError(f"DIMVIDA_DTYPE={name}: choose from {', '.join(named)}")
        return named[name]
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    native = device.type == "cpu" and (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    return torch.bfloat16 if native else torch.float32


@contextmanager
def plain_modes(device: torch.device) -> Iterator[None]:
    """Neither gradients nor inference mode nor autocast, whatever holds outside.

    Tensors made in inference mode could not be written outside of it, which would spoil whatever is kept between calls;
    autocast would change the dtype of products.
    """
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.no_grad())  # second, since leaving inference mode turns gradients on
        kind = device.type
        if torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind):
            stack.enter_context(torch.autocast(kind, enabled=False))
        yield


def in_plain_modes(method: Callable[P, R]) -> Callable[P, R]:
    """A method of something with a ``device`` that computes, and returns, the same whatever surrounds it."""

    @functools.wraps(method)
    def inner(*args: P.args, **kwargs: P.kwargs) -> R:
        with plain_modes(args[0].device):
            return method(*args, **kwargs)

    return inner


def upload(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor on a device; on its way to a GPU from pinned memory, since a copy of other waits for the stream."""
    if tensor.device.type == "cpu" and device.type == "cuda":
        # Whole first: pinned memory keeps strides, and an expanded tensor cannot be written.
        return tensor.contiguous().pin_memory().to(device, non_blocking=True)
    return tensor.to(device)
