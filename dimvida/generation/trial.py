"""What is tried before a run: how large a batch may be, how long it will take, and how large its output will be."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from dimvida.generation.formats import FORMATS
from dimvida.generation.output import stored_configuration
from dimvida.generation.run import Generation
from dimvida.generation.settings import GenerationSettings, resolve_settings
from dimvida.generation.storage import Place, RemotePath
from dimvida.sampling.memory import is_out_of_memory
from dimvida.sampling.multiview import MultiViewModel

LARGEST_AUTO = 16384  # rows of a batch
FIRST_TRIED = 64
SHARE_OF_MEMORY = 0.9  # that a batch may take: pictures of the one before are still on their way

PROBE_ROWS = 32
"""Rows that are generated to see how long they take."""

_LINE = 750  # bytes, about, that the metadata say about a picture


FindBatch = Callable[[MultiViewModel, GenerationSettings], int]
"""What ``--batch auto`` means for a model where it is, see ``best_batch``."""


def settings_with_batch(model: MultiViewModel, options: Mapping[str, Any], find_batch: FindBatch) -> GenerationSettings:
    """What ``resolve_settings`` makes of options; a ``batch`` of None is found for the model where it is.

    Raises:
        InputError: An option is wrong, or the model cannot do it; see ``resolve_settings``.
    """
    settings = resolve_settings(model, **options)
    if options["batch"] is not None:
        return settings
    return resolve_settings(model, **{**options, "batch": find_batch(model, settings)})


def best_batch(
    model: MultiViewModel,
    settings: GenerationSettings,
    rows: int,
    views: int | None,
    folder: Place,
    overwrite: bool,
) -> int:
    """The batch that ``--batch auto`` means.

    An output that is continued keeps its batch. Otherwise it is the largest that fits on a GPU, found by trying, and
    the default on a CPU, which gains nothing from larger ones.

    Args:
        model: The model that generates the missing views.
        settings: What it is asked for, with the default batch.
        rows: Rows of the plan.
        views: The most views of a row at cameras, see ``GenerationPlan.most_views``.
        folder: The output folder, which need not exist.
        overwrite: Whether what is there will be replaced.
    """
    stored = None if overwrite else stored_configuration(folder)
    if stored is not None and isinstance(stored.get("batch"), int):
        return stored["batch"]
    if model.device.type != "cuda":
        return settings.batch
    return largest_batch(model, settings, rows, views)


def largest_batch(model: MultiViewModel, settings: GenerationSettings, rows: int, views: int | None = None) -> int:
    """The largest batch, a power of two, that fits; no more than ``LARGEST_AUTO``, or than ``rows`` need.

    Found by doubling as long as the memory is there that twice as many rows will need, which is told from what the
    last two batches took at most: memory that is never asked for does not run out. Two steps are taken with each, in
    what the run multiplies in: memory does not depend on the number of steps. Rows have so many ``views`` at cameras,
    by default the model's named views.
    """
    limit = 1 << (min(rows, LARGEST_AUTO) - 1).bit_length()
    batch, fitting, before = min(FIRST_TRIED, limit), 0, None
    while batch:
        try:
            taken = _memory_taken(model, settings, batch, views)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            taken = None
        if taken is None:  # outside of the handler, whose traceback holds on to what did not fit
            if fitting:
                break
            batch, limit = batch // 2, batch // 2
            continue
        fitting = batch
        needed = 2 * taken if before is None else 3 * taken - 2 * before
        if batch == limit or needed > SHARE_OF_MEMORY * _memory_there(model.device):
            break
        batch, before = 2 * batch, taken
    return max(1, fitting)


def _memory_taken(model: MultiViewModel, settings: GenerationSettings, batch: int, views: int | None) -> int:
    """The most bytes of a GPU that a batch needs while it is made, weights among them; 0 on a CPU."""
    cuda = model.device.type == "cuda"
    if cuda:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(model.device)
    known = torch.arange(views or len(model.view_names), device="cpu") == 0
    blank = torch.zeros(batch, len(known), *model.config.autoencoder.image_shape, dtype=torch.uint8)
    model.generate(
        blank.to(model.device),
        known.expand(batch, -1),
        cameras=None if views is None else [(360 * view / views, 0.0) for view in range(views)],
        steps=2,
        solver=settings.solver,
        backend=settings.backend,
        dtype=settings.torch_dtype,
    )
    return torch.cuda.max_memory_reserved(model.device) if cuda else 0


def _memory_there(device: torch.device) -> float:
    """Bytes that this process may have of a GPU: what is free, and what it has. On a CPU nobody knows."""
    if device.type != "cuda":
        return math.inf
    return torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device)


@dataclass(frozen=True, slots=True)
class Forecast:
    """What is to be expected of a run.

    Attributes:
        pictures: Pictures that are written, known views included.
        seconds: For what is left, in one process on this device; None if none of the first rows can be read.
        size: Bytes of the finished output, pictures and metadata; None likewise.
        probed: Rows that the last two were measured with.
        free: Bytes that are free where the output goes; None behind a URL.
    """

    pictures: int
    seconds: float | None
    size: int | None
    probed: int
    free: int | None


def forecast(generation: Generation) -> Forecast:
    """Look at a run that was not entered.

    Rows from the plan's start are read, generated and packed twice, the second time measured: the first one builds
    what later batches use again.
    """
    plan, settings = generation.plan, generation.settings
    pictures = plan.views + settings.include_known * plan.known_in(range(len(plan)))
    rows = range(min(PROBE_ROWS, settings.batch, len(plan)))
    completer = generation.completer()
    for _ in range(2):
        start = time.perf_counter()
        batch = generation.reader.read(rows)
        if not batch.rows:
            return Forecast(pictures, None, None, 0, _free_space(generation))
        samples = generation.packer.pack(batch.rows, batch.hashes, generation.complete(completer, batch)().numpy())
        spent = time.perf_counter() - start
    line = _LINE * (2 if FORMATS[settings.format].joined_lines else 1)  # once for its shard, and once for all
    written = sum(memoryview(picture.data).nbytes + line for sample in samples for picture in sample.pictures)
    probed, left = len(batch.rows), sum(shard.stop - shard.start for shard in generation.pending)
    size = round(written / probed * len(plan))
    return Forecast(pictures, spent / probed * left, size, probed, _free_space(generation))


def _free_space(generation: Generation) -> int | None:
    if isinstance(generation.output.folder, RemotePath):
        return None
    place = generation.output.folder.absolute()
    while not place.exists():
        place = place.parent
    stats = os.statvfs(place)
    return stats.f_bavail * stats.f_frsize
