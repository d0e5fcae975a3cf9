"""The host side of mass generation: what it takes with a model that only hands back pictures, beside its floor."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dimvida.bench.case import preset_model
from dimvida.bench.floor import FloorProcesses, Work
from dimvida.bench.generation import repeated_inputs
from dimvida.data.batch import load_batch
from dimvida.data.opening import open_source
from dimvida.data.source import MultiViewSource
from dimvida.generation.plan import cut_shards, default_shard_size, make_plan
from dimvida.generation.run import Generation
from dimvida.generation.settings import resolve_settings
from dimvida.results.generation import HostTimes
from dimvida.sampling.multiview import MultiViewModel

ROUNDS = 3
PRESET = "tiny"  # whose images are of 64 pixels, as those of all presets


class PicturesInHand(MultiViewModel):
    """Makes nothing: whatever is wanted are pictures that it was given.

    Attributes:
        pictures: uint8 [M, H, W, C], as many as a batch can want.
    """

    pictures: Tensor

    def encode_known(self, images: Tensor, known: Tensor, **options: Any) -> Tensor:
        return self.latent_mean.new_zeros(*known.shape, 1)

    def sample_missing(self, latents: Tensor, known: Tensor, **options: Any) -> Tensor:
        return latents

    def decode_views(self, latents: Tensor, wanted: Tensor, **options: Any) -> tuple[Tensor, Tensor]:
        return self.pictures[: int(wanted.sum())], torch.ones(len(wanted), 2, dtype=torch.bool)


def model_of(source: MultiViewSource, view: str, batch: int) -> PicturesInHand:
    """A model of the source's views that hands back its pictures of the other ones, those of a batch at most.

    Raises:
        InputError: No object has ``view``.
    """
    model = preset_model(PRESET, source.view_names)
    model.__class__ = PicturesInHand
    objects, _, _ = load_batch(source, range(min(64, len(source))), image_size=model.image_size)
    others = [name != view for name in source.view_names]
    shown = objects.images[:, others][objects.known[:, others]].permute(0, 2, 3, 1)
    model.pictures = shown[torch.arange(batch * sum(others)) % len(shown)].contiguous()
    return model


def measure_host(
    source: MultiViewSource,
    view: str,
    objects: int,
    form: str,
    batch: int,
    progress: Callable[[int], object] = lambda objects: None,
) -> HostTimes:
    """Time the whole of a run but its networks, from arrays of known views to a finished output, and its floor.

    Both are run in turn, ``ROUNDS`` times, so that a machine that others use meets both alike; one run of the pipeline
    goes before them.

    Args:
        source: Whose pictures are repeated.
        view: The known one.
        objects: How many there are.
        form: Form of the output.
        batch: Objects at a time.
        progress: Called with numbers of objects as they are done.
    """
    model, cores = model_of(source, view, batch), len(os.sched_getaffinity(0))
    rows = rows_of_shards(objects, cores, batch)
    settings = resolve_settings(model, batch=batch, format=form, shard_size=rows, backend="eager")
    seconds: list[float] = []
    processors: list[float] = []
    floor: list[tuple[float, float]] = []
    with repeated_inputs(source, view, objects, "npy") as inputs, TemporaryDirectory() as name:
        folder = Path(name)
        plan = make_plan(open_source(inputs), model.view_names)
        whole = folder / "whole"  # the first run, whose bytes the floor writes again
        _seconds_of(Generation(model, plan, settings, whole))
        np.save(folder / "pictures.npy", model.pictures.numpy())
        shards = cut_shards(objects, settings.shard_size)
        work = Work(
            inputs=inputs / "shard-000000.npy",
            pictures=folder / "pictures.npy",
            output=whole,
            shards=tuple((shard.stem, shard.start, shard.stop - shard.start) for shard in shards),
            views=len(model.view_names) - 1,
            encoded=settings.image_format is not None,
        )
        with FloorProcesses(work, cores) as floor_processes:
            # All outputs stay until the end: after files were deleted nearby ext4 makes others many times slower for
            # minutes (recently_deleted in its source), and the disk may be told of freed blocks meanwhile.
            for number in range(ROUNDS):
                generation = Generation(model, plan, settings, folder / f"run-{number}")
                begin = time.process_time()
                seconds.append(_seconds_of(generation))
                processors.append(time.process_time() - begin)
                again = folder / f"floor-{number}"
                again.mkdir()
                for class_name in plan.source.classes:
                    (again / class_name).mkdir()
                floor.append(floor_processes.run(again))
                progress(objects)
    return HostTimes(
        format=form,
        batch=batch,
        objects=objects,
        cores=cores,
        seconds=seconds,
        floor_seconds=[wall for wall, _ in floor],
        processor_seconds=processors,
        floor_processor_seconds=[used for _, used in floor],
    )


def rows_of_shards(objects: int, cores: int, batch: int) -> int:
    """Rows of a shard: whole batches, and few enough that the floor has a shard for each core, if there are batches."""
    return min(default_shard_size(batch), max(1, objects // cores // batch) * batch)


def _seconds_of(generation: Generation) -> float:
    begin = time.perf_counter()
    with generation:
        generation.run()
    return time.perf_counter() - begin
