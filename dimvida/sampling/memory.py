"""Memory that runs out, memory of the host that a GPU copies from and to, and such copies."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

OUT_OF_MEMORY = (
    "out of memory",  # of CUDA's allocator, of cudaMalloc, cudaHostAlloc and graph instantiation, of the driver
    "unable to find an engine to execute",  # cuDNN: no algorithm whose workspace can be had
    "_alloc_failed",  # CUBLAS_STATUS_ALLOC_FAILED, CUDNN_STATUS_ALLOC_FAILED and the like
    "_allocation_failed",  # CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED and the like
    "can't allocate memory",  # of the host, as torch says it,
    "cannot allocate memory",  # and as the system does
    "not enough memory",
)
"""What errors without a type of their own say, in lower case."""


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether an error says that memory did not suffice, on a GPU or on the host, or came of one that does.

    A graph whose capture runs out of memory ends in an error of its own, about the capture.
    """
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
            return True
        if isinstance(error, RuntimeError) and any(words in str(error).lower() for words in OUT_OF_MEMORY):
            return True
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return False


def host_memory(*shape: int, pinned: bool) -> Tensor:
    """Uninitialised uint8 memory on the host, pinned if that is asked for and there is enough of it.

    torch keeps pinned memory that is freed and gives it out again, so in the long run none is pinned anew.
    """
    if pinned:
        try:
            return torch.empty(shape, dtype=torch.uint8, device="cpu", pin_memory=True)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
    return torch.empty(shape, dtype=torch.uint8, device="cpu")


class HostCopies:
    """Copies what a device has made to the host, on a stream of its own: what leaves waits for nothing made after it.

    Args:
        device: The device; what is on a CPU is there already.
    """

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def begin(self, *tensors: Tensor) -> tuple[tuple[Tensor, ...], Callable[[], None]]:
        """Begin to copy, into pinned memory; whoever calls what is returned beside the copies waits for them."""
        if self._stream is None:
            return tensors, lambda: None
        self._stream.wait_stream(torch.cuda.current_stream(tensors[0].device))
        copies = []
        with torch.cuda.stream(self._stream):
            for tensor in tensors:
                host = host_memory(*tensor.shape, pinned=True).view(tensor.dtype)
                copies.append(host.copy_(tensor, non_blocking=True))
                tensor.record_stream(self._stream)
            copied = torch.cuda.Event(blocking=True)  # whoever waits leaves its core to others
            copied.record()
        return tuple(copies), copied.synchronize
