"""What says that memory ran out, and memory for copies of a GPU where none can be pinned."""

from __future__ import annotations

from contextlib import nullcontext
from unittest.mock import MagicMock

import pytest
import torch

from dimvida.sampling.memory import HostCopies, host_memory, is_out_of_memory


def test_what_is_out_of_memory():
    assert is_out_of_memory(torch.OutOfMemoryError("x"))
    assert is_out_of_memory(MemoryError())
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)
    assert not is_out_of_memory(RuntimeError("shapes do not fit"))


@pytest.mark.parametrize(
    "text",
    [
        "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.11 GiB",
        "CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported at some other API call",
        "CUDA driver error: out of memory",
        "GET was unable to find an engine to execute this computation",
        "FIND was unable to find an engine to execute this computation",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
        "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "unable to mmap 1024 bytes from file </x>: Cannot allocate memory (12)",
    ],
)
def test_what_a_gpu_says_when_memory_does_not_suffice(text: str):
    kind = getattr(torch, "AcceleratorError", RuntimeError)
    for error in (RuntimeError(text), kind(text)):
        assert is_out_of_memory(error)
    assert not is_out_of_memory(ValueError(text))


def test_an_error_that_came_of_one():
    """As where a capture runs out of memory and then cannot be ended."""
    with pytest.raises(RuntimeError) as caught:
        try:
            raise torch.OutOfMemoryError("CUDA out of memory")
        finally:
            raise RuntimeError("CUDA error: operation failed due to a previous error during capture")
    assert is_out_of_memory(caught.value)
    assert not is_out_of_memory(RuntimeError("CUDA error: an illegal memory access was encountered"))


def test_where_no_memory_can_be_pinned_it_is_ordinary(monkeypatch):
    empty = torch.empty

    def out_of_pinned(*shape, pin_memory=False, **options):
        if pin_memory:
            raise RuntimeError("CUDA error: out of memory")
        return empty(*shape, **options)

    monkeypatch.setattr(torch, "empty", out_of_pinned)
    memory = host_memory(2, 3, pinned=True)
    assert (memory.dtype, tuple(memory.shape), memory.is_pinned()) == (torch.uint8, (2, 3), False)


def test_whoever_waits_for_a_copy_leaves_its_core_to_others(monkeypatch):
    streams, events, empty = MagicMock(), MagicMock(), torch.empty
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: streams.own)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: streams.current)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: nullcontext())
    monkeypatch.setattr(torch.cuda, "Event", events)
    monkeypatch.setattr(torch, "empty", lambda *shape, pin_memory=False, **options: empty(*shape, **options))
    monkeypatch.setattr(torch.Tensor, "record_stream", lambda tensor, stream: streams.held(stream))
    made = torch.arange(6, dtype=torch.uint8).view(2, 3), torch.tensor([True, False])
    copies, wait = HostCopies(torch.device("cuda", 0)).begin(*made)
    streams.own.wait_stream.assert_called_once_with(streams.current)
    assert streams.held.call_count == 2  # its memory is given to nobody while it is copied
    events.assert_called_once_with(blocking=True)
    events.return_value.record.assert_called_once_with()
    events.return_value.synchronize.assert_not_called()
    wait()
    events.return_value.synchronize.assert_called_once_with()
    assert all(copy.dtype == one.dtype and torch.equal(copy, one) for copy, one in zip(copies, made, strict=True))
