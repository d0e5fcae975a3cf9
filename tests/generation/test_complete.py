"""Batches through the model: smaller ones where memory does not suffice, and none that is no picture."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dimvida.errors import DimvidaError
from dimvida.generation.complete import _host_memory, is_out_of_memory, largest_batch
from dimvida.generation.settings import resolve_settings
from dimvida.sampling.multiview import MultiViewModel

OBJECTS = 24


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


class TestOutOfMemory:
    def test_the_batch_is_halved_with_a_note_and_nothing_is_lost(self, start, model, tmp_path: Path):
        with start(tmp_path / "small", batch=8, shard_size=8) as generation:
            generation.run()
        model.rows = 3
        notes = []
        with start(tmp_path / "hungry", batch=8, shard_size=8) as generation:
            report = generation.run(on_note=notes.append)
        assert notes == ["out of memory with 6 rows; going on with batches of 3"]
        assert report.views == 3 * (OBJECTS - 2)
        assert names(tmp_path / "small") == names(tmp_path / "hungry")

    def test_one_row_that_does_not_fit_is_a_failure(self, start, model, tmp_path: Path):
        model.rows = 0
        with pytest.raises(RuntimeError, match="allocate memory"), start(tmp_path / "out") as generation:
            generation.run()

    def test_what_is_out_of_memory(self):
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
    def test_what_a_gpu_says_when_memory_does_not_suffice(self, text: str):
        kind = getattr(torch, "AcceleratorError", RuntimeError)
        for error in (RuntimeError(text), kind(text)):
            assert is_out_of_memory(error)
        assert not is_out_of_memory(ValueError(text))

    def test_an_error_that_came_of_one(self):
        """As where a capture runs out of memory and then cannot be ended."""
        with pytest.raises(RuntimeError) as caught:
            try:
                raise torch.OutOfMemoryError("CUDA out of memory")
            finally:
                raise RuntimeError("CUDA error: operation failed due to a previous error during capture")
        assert is_out_of_memory(caught.value)
        assert not is_out_of_memory(RuntimeError("CUDA error: an illegal memory access was encountered"))

    @pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
    def test_the_largest_batch_is_tried_with_what_the_run_multiplies_in(self, model, monkeypatch, dtype: str):
        settings = resolve_settings(model, backend="fused", dtype=dtype, solver="ddim")
        asked = []
        generate = type(model).generate
        monkeypatch.setattr(
            type(model), "generate", lambda *given, **more: asked.append(more) or generate(*given, **more)
        )
        assert largest_batch(model, settings, 4) == 4
        assert asked == [{"steps": 2, "solver": "ddim", "backend": "fused", "dtype": getattr(torch, dtype)}]

    def test_where_no_memory_can_be_pinned_the_copy_is_an_ordinary_one(self, monkeypatch):
        empty = torch.empty

        def out_of_pinned(*shape, pin_memory=False, **options):
            if pin_memory:
                raise RuntimeError("CUDA error: out of memory")
            return empty(*shape, **options)

        monkeypatch.setattr(torch, "empty", out_of_pinned)
        made = torch.arange(6, dtype=torch.uint8).view(2, 3)
        assert torch.equal(_host_memory(made).copy_(made), made)

    @pytest.mark.parametrize(("rows", "asked", "found"), [(5, 100, 4), (300, 100, 128), (1, 9, 1)])
    def test_the_largest_batch_is_found_by_halving(self, model, rows: int, asked: int, found: int):
        model.rows = rows
        assert largest_batch(model, resolve_settings(model), asked) == found


class OverflowingModel(MultiViewModel):
    """Whose latents of some rows are no numbers."""

    rows: tuple[int, ...] = ()

    def sample_missing(self, latents: torch.Tensor, known: torch.Tensor, **options) -> torch.Tensor:
        latents = super().sample_missing(latents, known, **options)
        latents[[row for row in self.rows if row < len(latents)]] = torch.nan
        return latents


@pytest.mark.parametrize("batch", [8, 3])
def test_objects_whose_numbers_overflow_are_named_and_nothing_of_them_is_written(
    start, model, tmp_path: Path, batch: int
):
    model.__class__, model.rows = OverflowingModel, (1, 2)
    with pytest.raises(DimvidaError) as caught, start(tmp_path / "out", batch=batch, shard_size=8) as generation:
        generation.run()
    assert str(caught.value).startswith("chair/01, chair/02: latents are not finite (NaN or infinity)")
    assert not list((tmp_path / "out").rglob("*.png"))
