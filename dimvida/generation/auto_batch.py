"""The batch that ``--batch auto`` means."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from dimvida.generation.completing import largest_batch
from dimvida.generation.jobs import Job
from dimvida.generation.output import stored_configuration
from dimvida.generation.plan import Plan
from dimvida.generation.settings import Settings
from dimvida.generation.shards import default_shard_size
from dimvida.sampling.multiview import MultiViewModel


def with_best_batch(
    model: MultiViewModel,
    plan: Plan,
    settings: Settings,
    folder: Path,
    job: Job,
    *,
    shard_size: int | None,
    overwrite: bool,
) -> Settings:
    """The settings with a batch that all processes of the job agree on.

    An output that is continued keeps its batch. Otherwise it is the largest that fits on a GPU, found by trying, and
    the default on a CPU, which gains nothing from larger ones.
    """

    def choose() -> int:
        stored = None if overwrite else stored_configuration(folder)
        if stored is not None and isinstance(stored.get("batch"), int):
            return stored["batch"]
        return largest_batch(model, settings, len(plan)) if model.device.type == "cuda" else settings.batch

    batch = job.first(choose)
    return dataclasses.replace(settings, batch=batch, shard_size=shard_size or default_shard_size(batch))
