"""Memory that runs out, and memory of the host that a GPU copies from and to."""

from __future__ import annotations

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
