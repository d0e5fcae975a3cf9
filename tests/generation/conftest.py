"""A run to start, of a model that can be made to run out of memory; shards that are written without a model."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from dimvida.data.opening import open_source
from dimvida.generation.formats import FORMATS
from dimvida.generation.formats.base import Picture, Sample
from dimvida.generation.output import OutputFolder
from dimvida.generation.plan import cut_shards, make_plan
from dimvida.generation.run import Generation
from dimvida.generation.settings import resolve_settings
from dimvida.generation.stats import GenerationReport, ShardStats
from dimvida.generation.storage import output_errors
from dimvida.generation.verify import recheck_files
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


SHARD_SHAPE = (4, 4, 3)


def _configuration(form: str, seed: int = 0) -> dict:
    return {
        **{"seed": seed, "format": form, "objects": 6, "samples_per_view": 1, "shard_size": 2, "left_out": {}},
        **{"view_names": ["front", "left"], "classes": ["chair"], "include_known": False, "image_size": 4},
        **{"image_format": "png", "quality": None, "checkpoint": "c0", "plan": "9a", "solver": "ddim", "steps": 1},
        **{"dtype": "float32", "backend": "eager", "device": "cpu", "version": "0"},
    }


def draw() -> bytes:
    """The picture of a card."""
    return b"a contact sheet"


def _samples(number: int) -> list[Sample]:
    found = []
    for letter in "ab":
        data = f"{number}{letter}".encode() * 24
        sha256 = hashlib.sha256(data).hexdigest()
        line = f'"source": "{letter}", "view": "left", "label": "chair", "sha256": "{sha256}"'
        found.append(Sample(f"chair/{number}{letter}", 0, [Picture("left", data, sha256, line)]))
    return found


class Writer:
    """Writes shards of two samples each, without a model."""

    def __init__(self, folder: Path, form: str = "imagefolder", seed: int = 0, **options) -> None:
        self.form = form
        self.output = OutputFolder(folder, _configuration(form, seed), cut_shards(6, 2), **options)

    def write(self, *numbers: int, finish: bool = False, stop: str | None = None) -> GenerationReport | None:
        """Write shards that are not there; ``stop`` leaves the last one before its commit or its stats."""
        self.output.open("job")
        try:
            for number in numbers:
                shard = self.output.shards[number]
                recheck_files(self.output, shard)
                if self.output.stats(shard) is not None:
                    continue
                with output_errors(self.output.folder):
                    writer = FORMATS[self.form](
                        self.output.folder, shard.stem, SHARD_SHAPE, _configuration(self.form), 2
                    )
                    pictures = b"".join(picture.data for sample in _samples(number) for picture in sample.pictures)
                    array = np.frombuffer(pictures, np.uint8).reshape(2, *SHARD_SHAPE)
                    writer.add(array, [writer.lay_out(_samples(number), 0)])
                    if stop == "commit" and number == numbers[-1]:
                        return None
                    files = writer.commit()
                if stop == "stats" and number == numbers[-1]:
                    return None
                self.output.add(ShardStats(number, self.output.hash, 2, 2, 2, files))
            return self.output.finish(draw) if finish else None
        finally:
            self.output.close()
