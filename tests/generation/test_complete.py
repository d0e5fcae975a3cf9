"""Batches through the model: smaller ones where memory does not suffice, and none that is no picture."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dimvida.errors import DimvidaError
from dimvida.generation.complete import largest_batch
from dimvida.generation.settings import resolve_settings
from dimvida.sampling.multiview import MultiViewModel

OBJECTS = 24


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


class TestOutOfMemory:
    def test_the_batch_is_halved_with_a_note_and_nothing_is_lost(self, start, hungry_model, tmp_path: Path):
        with start(tmp_path / "small", batch=8, shard_size=8) as generation:
            generation.run()
        hungry_model.rows = 3
        notes = []
        with start(tmp_path / "hungry", batch=8, shard_size=8) as generation:
            report = generation.run(on_note=notes.append)
        assert notes == ["out of memory with 6 rows; going on with batches of 3"]
        assert report.views == 3 * (OBJECTS - 2)
        assert names(tmp_path / "small") == names(tmp_path / "hungry")

    def test_one_row_that_does_not_fit_is_a_failure(self, start, hungry_model, tmp_path: Path):
        hungry_model.rows = 0
        with pytest.raises(RuntimeError, match="allocate memory"), start(tmp_path / "out") as generation:
            generation.run()

    @pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
    def test_the_largest_batch_is_tried_with_what_the_run_multiplies_in(self, hungry_model, monkeypatch, dtype: str):
        settings = resolve_settings(hungry_model, backend="fused", dtype=dtype, solver="ddim")
        asked = []
        generate = type(hungry_model).generate
        monkeypatch.setattr(
            type(hungry_model), "generate", lambda *given, **more: asked.append(more) or generate(*given, **more)
        )
        assert largest_batch(hungry_model, settings, 4) == 4
        assert asked == [
            {"cameras": None, "steps": 2, "solver": "ddim", "backend": "fused", "dtype": getattr(torch, dtype)}
        ]

    @pytest.mark.parametrize(("rows", "asked", "found"), [(5, 100, 4), (300, 100, 128), (1, 9, 1)])
    def test_the_largest_batch_is_found_by_halving(self, hungry_model, rows: int, asked: int, found: int):
        hungry_model.rows = rows
        assert largest_batch(hungry_model, resolve_settings(hungry_model), asked) == found


class OverflowingModel(MultiViewModel):
    """Whose latents of some rows are no numbers."""

    rows: tuple[int, ...] = ()

    def sample_missing(self, latents: torch.Tensor, known: torch.Tensor, **options) -> torch.Tensor:
        latents = super().sample_missing(latents, known, **options)
        latents[[row for row in self.rows if row < len(latents)]] = torch.nan
        return latents


@pytest.mark.parametrize("batch", [8, 3])
def test_objects_whose_numbers_overflow_are_named_and_nothing_of_them_is_written(
    start, hungry_model, tmp_path: Path, batch: int
):
    hungry_model.__class__, hungry_model.rows = OverflowingModel, (1, 2)
    with pytest.raises(DimvidaError) as caught, start(tmp_path / "out", batch=batch, shard_size=8) as generation:
        generation.run()
    assert str(caught.value).startswith("chair/01, chair/02: latents are not finite (NaN or infinity)")
    assert not list((tmp_path / "out").rglob("*.png"))
