"""A run to start, of a model that can be made to run out of memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from dimvida.data.opening import open_source
from dimvida.generation.plan import make_plan
from dimvida.generation.run import Generation
from dimvida.generation.settings import resolve_settings
from dimvida.sampling.multiview import MultiViewModel, load

OBJECTS = 24


@pytest.fixture(scope="module", autouse=True)
def in_one_thread(one_thread: None) -> None:
    """For every test of this folder."""


class HungryModel(MultiViewModel):
    """Runs out of memory, really, with more rows than ``rows``."""

    rows = 1 << 30

    def sample_missing(self, latents: torch.Tensor, known: torch.Tensor, **options) -> torch.Tensor:
        if len(known) > self.rows:
            torch.empty(1 << 60, dtype=torch.uint8)
        return super().sample_missing(latents, known, **options)


@pytest.fixture
def hungry_model(tiny_checkpoint: Path) -> MultiViewModel:
    model = load(tiny_checkpoint)
    model.__class__ = HungryModel
    return model


@pytest.fixture
def start(hungry_model: MultiViewModel, tmp_path: Path, write_fronts) -> Callable[..., Generation]:
    """A run over images of which two cannot be read."""
    images = write_fronts(tmp_path / "images", OBJECTS, unreadable=[3, 4])

    def start(output: Path, *, batch: int = 2, shard_size: int = 4, workers: int = 0, **options) -> Generation:
        plan = make_plan(open_source(images), hungry_model.view_names)
        settings = resolve_settings(hungry_model, batch=batch, shard_size=shard_size, **options)
        return Generation(hungry_model, plan, settings, output, workers=workers)

    return start
