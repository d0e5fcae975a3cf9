"""The batch that ``--batch auto`` means."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch

from dimvida.generation.complete import is_out_of_memory
from dimvida.generation.jobs import Job
from dimvida.generation.output import stored_configuration
from dimvida.generation.plan import GenerationPlan
from dimvida.generation.settings import GenerationSettings
from dimvida.generation.shards import default_shard_size
from dimvida.sampling.multiview import MultiViewModel

LARGEST_AUTO = 16384


def with_best_batch(
    model: MultiViewModel,
    plan: GenerationPlan,
    settings: GenerationSettings,
    folder: Path,
    job: Job,
    *,
    shard_size: int | None,
    overwrite: bool,
) -> GenerationSettings:
    """The settings with a batch that all processes of the job agree on.

    An output that is continued keeps its batch. Otherwise it is the largest that fits on a GPU, found by trying, and
    the default on a CPU, which gains nothing from larger ones.
    """

    def choose() -> int:
        stored = None if overwrite else stored_configuration(folder)
        if stored is not None and isinstance(stored.get("batch"), int):
            return stored["batch"]
        return largest_batch(model, settings, len(plan)) if model.device.type == "cuda" else settings.batch

    batch = job.broadcast_from_rank_0(choose)
    return dataclasses.replace(settings, batch=batch, shard_size=shard_size or default_shard_size(batch))


def largest_batch(model: MultiViewModel, settings: GenerationSettings, rows: int) -> int:
    """The largest batch that fits, found by halving from ``LARGEST_AUTO`` or from what ``rows`` there are.

    Two steps are taken with each, in what the run multiplies in: memory does not depend on the number of steps.
    """
    batch = 1
    while batch < min(rows, LARGEST_AUTO):
        batch *= 2
    views, size = len(model.view_names), model.image_size
    while batch > 1:
        try:
            blank = torch.zeros(batch, views, model.channels, size, size, dtype=torch.uint8, device=model.device)
            model.generate(
                blank,
                model.view_names[0],
                steps=2,
                solver=settings.solver,
                backend=settings.backend,
                dtype=settings.torch_dtype,
            )
            break
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        batch //= 2
        torch.cuda.empty_cache()
    return batch
