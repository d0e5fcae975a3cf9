"""Batches through the model: smaller ones where memory does not suffice, and none that is no picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from dimvida.errors import DimvidaError
from dimvida.generation import complete
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


def test_a_run_samples_batches_of_one_size_where_each_is_a_graph(start, hungry_model, tmp_path: Path, monkeypatch):
    """24 rows in shards of 9, of which two cannot be read: batches of 5 and 4 rows, and of fewer."""
    with start(tmp_path / "plain", batch=5, shard_size=9, format="npy", backend="fused") as generation:
        generation.run()
    sampled, sample_missing = [], type(hungry_model).sample_missing

    def counted(self, latents, known, **options):
        sampled.append((len(latents), len(known), len(options["sample_ids"])))
        return sample_missing(self, latents, known, **options)

    monkeypatch.setattr(type(hungry_model), "sample_missing", counted)
    monkeypatch.setattr(complete, "has_graphs", lambda device: True)
    with start(tmp_path / "graphs", batch=5, shard_size=9, format="npy", backend="fused") as generation:
        generation.run()
    assert sampled == [(5, 5, 5)] * 6
    for number in range(3):
        one, other = (np.load(tmp_path / name / f"shard-{number:06d}.npy").astype(int) for name in ("plain", "graphs"))
        assert one.shape == other.shape and np.abs(one - other).max() <= 1


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
