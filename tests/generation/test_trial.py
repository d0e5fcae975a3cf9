"""What is tried before a run: the largest batch."""

from __future__ import annotations

import pytest
import torch

from dimvida.generation import trial
from dimvida.generation.settings import resolve_settings
from dimvida.generation.trial import largest_batch
from dimvida.sampling.multiview import load


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_largest_batch_is_tried_with_what_the_run_multiplies_in(hungry_model, monkeypatch, dtype: str):
    settings = resolve_settings(hungry_model, backend="fused", dtype=dtype, solver="ddim")
    asked = []
    generate = type(hungry_model).generate
    monkeypatch.setattr(
        type(hungry_model), "generate", lambda *given, **more: asked.append(more) or generate(*given, **more)
    )
    assert largest_batch(hungry_model, settings, 4) == 4
    assert asked and all(
        one == {"cameras": None, "steps": 2, "solver": "ddim", "backend": "fused", "dtype": getattr(torch, dtype)}
        for one in asked
    )


@pytest.mark.parametrize(("rows", "asked", "found"), [(5, 100, 4), (300, 100, 128), (1, 9, 1)])
def test_the_largest_batch_that_fits_is_found(hungry_model, rows: int, asked: int, found: int):
    hungry_model.rows = rows
    assert largest_batch(hungry_model, resolve_settings(hungry_model), asked) == found


def test_views_at_cameras_are_tried_as_many_as_rows_have():
    model = load("bundled")
    settings = resolve_settings(model, solver="ddim")
    assert largest_batch(model, settings, 2, views=7) == 2


@pytest.mark.parametrize(("there", "found"), [(1100, 64), (2000, 128), (3000, 256), (10**6, 1024)])
def test_no_batch_is_tried_that_memory_will_not_suffice_for(hungry_model, monkeypatch, there: int, found: int):
    """Weights take 100, and a row 10: twice as many rows are tried only if nine tenths are enough for them."""
    tried = []
    monkeypatch.setattr(
        trial, "_memory_taken", lambda model, settings, batch, views: tried.append(batch) or 100 + 10 * batch
    )
    monkeypatch.setattr(trial, "_memory_there", lambda device: there)
    assert largest_batch(hungry_model, resolve_settings(hungry_model), 1000) == found
    assert tried == [64 << place for place in range((found // 64).bit_length())]
    assert 100 + 10 * found <= 0.9 * there
