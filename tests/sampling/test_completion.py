"""Batches through the model: smaller ones where memory does not suffice, and none that is no picture."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from dimvida.errors import DimvidaError
from dimvida.sampling import completion
from dimvida.sampling.completion import BatchCompleter
from dimvida.sampling.multiview import MultiViewModel, load

SAMPLING = {"steps": 2, "solver": "euler-maruyama", "seed": 3, "backend": "eager", "dtype": torch.float32}
KNOWN = (torch.arange(8)[:, None] >> torch.arange(4)) & 1 == 1  # eight sets of known views
WANTED = ~KNOWN & torch.tensor([True, True, True, False])
IDS = torch.arange(20, 28)
NAMES = [f"chair/{row:02d}" for row in range(8)]
VIEWS = torch.randint(0, 256, (8, 4, 16, 16, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


class LimitedModel(MultiViewModel):
    """Runs out of memory with more rows than ``most``, and overflows in the rows ``overflowing`` of what it samples.

    Attributes:
        sampled: The number of rows of each call.
    """

    most, overflowing = 1 << 30, ()

    def sample_missing(self, latents: Tensor, known: Tensor, **options) -> Tensor:
        if len(known) > self.most:
            torch.empty(1 << 60, dtype=torch.uint8)
        self.sampled = [*getattr(self, "sampled", []), (len(latents), len(known), len(options["sample_ids"]))]
        latents = super().sample_missing(latents, known, **options)
        latents[[row for row in self.overflowing if row < len(latents)]] = torch.nan
        return latents


@pytest.fixture
def limited(tiny_checkpoint: Path, one_thread: None) -> LimitedModel:
    model = load(tiny_checkpoint)
    model.__class__ = LimitedModel
    return model


def complete(completer: BatchCompleter, rows: slice = slice(0, 8)) -> Tensor:
    known = KNOWN[rows]
    return completer.complete(VIEWS[rows][known], known, WANTED[rows], IDS[rows], NAMES[rows])()


def test_a_batch_is_what_the_model_generates(limited):
    made = complete(BatchCompleter(limited, 8, SAMPLING))
    whole = limited.generate(VIEWS.permute(0, 1, 4, 2, 3), KNOWN, sample_ids=IDS, **SAMPLING)
    assert torch.equal(made, whole[WANTED].permute(0, 2, 3, 1))


def test_a_batch_that_does_not_fit_is_halved_with_a_note_and_stays_so(limited):
    whole, notes = complete(BatchCompleter(limited, 8, SAMPLING)).int(), []
    limited.most, limited.sampled = 3, []
    completer = BatchCompleter(limited, 8, SAMPLING, note=notes.append)
    for _ in range(2):
        assert (complete(completer).int() - whole).abs().max() <= 1
    assert notes == [f"out of memory with {rows} rows; going on with batches of {rows // 2}" for rows in (8, 4)]
    assert [rows for rows, _, _ in limited.sampled] == [2] * 8


def test_one_row_that_does_not_fit_is_a_failure(limited):
    limited.most = 0
    with pytest.raises(RuntimeError, match="allocate memory"):
        complete(BatchCompleter(limited, 8, SAMPLING))


def test_batches_are_sampled_with_as_many_rows_where_each_is_a_graph(limited, monkeypatch):
    plain = [complete(BatchCompleter(limited, 6, SAMPLING), rows) for rows in (slice(0, 6), slice(6, 8))]
    monkeypatch.setattr(completion, "has_graphs", lambda device: True)
    limited.sampled = []
    completer = BatchCompleter(limited, 6, SAMPLING | {"backend": "fused"})
    graphs = [complete(completer, rows) for rows in (slice(0, 6), slice(6, 8))]
    assert limited.sampled == [(6, 6, 6)] * 2
    for one, other in zip(plain, graphs, strict=True):
        assert one.shape == other.shape and (one.int() - other.int()).abs().max() <= 1


@pytest.mark.parametrize("rows", [8, 3])
def test_objects_whose_numbers_overflow_are_named(limited, rows: int):
    limited.overflowing = (1, 2)
    limited.most = rows
    with pytest.raises(DimvidaError) as caught:
        complete(BatchCompleter(limited, 3 if rows == 3 else 8, SAMPLING))
    named = "chair/01, chair/02" if rows == 8 else "chair/01, chair/02, chair/04 and others"
    assert str(caught.value).startswith(f"{named}: latents are not finite (NaN or infinity)")


def test_stages_are_entered_in_order(limited):
    entered: list[str] = []

    def timed(stage: str):
        entered.append(stage)
        return torch.no_grad()

    complete(BatchCompleter(limited, 4, SAMPLING, timed=timed))
    assert entered == ["encode", "sample", "decode"] * 2
