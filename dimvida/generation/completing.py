"""Batches through the model, and back to the host while the next one is on its way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from dimvida.generation.reading import GivenBatch
from dimvida.generation.settings import Settings
from dimvida.generation.times import StageTimes
from dimvida.sampling.multiview import MultiViewModel
from dimvida.sampling.noise import sample_id

LARGEST_AUTO = 16384


@dataclass(frozen=True, slots=True)
class Completed:
    """Views on their way to the host.

    Attributes:
        views: uint8 [B, V, C, H, W] on the host.
        copied: What marks the end of the copy on CUDA; None where the views are there.
    """

    views: Tensor
    copied: torch.cuda.Event | None = None

    def wait(self) -> Tensor:
        """The views, complete."""
        if self.copied is not None:
            self.copied.synchronize()
        return self.views


class Completer:
    """Completes batches with one model; smaller ones once memory did not suffice.

    On CUDA the views go over from pinned memory, and come back on a stream of their own into pinned memory that is new
    for every batch (torch keeps and reuses freed pinned blocks), so a batch that leaves waits for none that is made.

    Args:
        model: The model.
        settings: How.
        times: Where the time of its stages is counted.
        note: Called with a line when a batch was too large.
    """

    def __init__(
        self, model: MultiViewModel, settings: Settings, times: StageTimes, note: Callable[[str], object]
    ) -> None:
        self._model, self._settings, self._times, self._note = model, settings, times, note
        self._limit = settings.batch
        self._cuda = model.device.type == "cuda"
        self._outgoing = torch.cuda.Stream(model.device) if self._cuda else None

    def complete(self, given: GivenBatch) -> Completed:
        """Complete a batch. Rows that did not fit into memory together are made again in halves."""
        ids = torch.tensor([sample_id(row.task.record.id, row.draw) for row in given.rows], dtype=torch.int64)
        parts: list[Tensor] = []
        start = 0
        while start < len(ids):
            rows = slice(start, start + self._limit)
            try:
                parts.append(self._generate(given.views[rows], given.known[rows], ids[rows]))
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error) or len(ids[rows]) == 1:
                    raise
                self._limit = len(ids[rows]) // 2
                self._note(f"out of memory with {len(ids[rows])} rows; going on with batches of {self._limit}")
            else:
                start += self._limit
                continue
            # Outside of the handler, whose traceback holds on to the tensors that did not fit.
            if self._cuda:
                torch.cuda.empty_cache()
        made = torch.cat(parts) if len(parts) != 1 else parts[0]
        return self._leave(made)

    def _generate(self, views: Tensor, known: Tensor, ids: Tensor) -> Tensor:
        """uint8 [B, V, C, H, W] on the model's device."""
        model, settings, times = self._model, self._settings, self._times
        if self._cuda:
            views = views.pin_memory().to(model.device, non_blocking=True)
            known = known.pin_memory().to(model.device, non_blocking=True)
        with times.device("encode"):
            latents = model.encode_known(views, known)
        with times.device("sample"):
            latents = model.sample_missing(
                latents,
                known,
                steps=settings.steps,
                solver=settings.solver,
                seed=settings.seed,
                sample_ids=ids,
                backend=settings.backend,
                dtype=settings.torch_dtype,
            )
        with times.device("decode"):
            return model.decode_missing(latents, views, known, backend=settings.backend)

    def _leave(self, made: Tensor) -> Completed:
        if self._outgoing is None:
            return Completed(made)
        self._outgoing.wait_stream(torch.cuda.current_stream(made.device))
        with torch.cuda.stream(self._outgoing):
            host = torch.empty(made.shape, dtype=made.dtype, pin_memory=True)
            host.copy_(made, non_blocking=True)
            made.record_stream(self._outgoing)
            copied = torch.cuda.Event()
            copied.record()
        return Completed(host, copied)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory did not suffice, on a GPU or on the host."""
    text = str(error).lower()
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or (
        isinstance(error, RuntimeError) and ("can't allocate memory" in text or "not enough memory" in text)
    )


def largest_batch(model: MultiViewModel, settings: Settings, rows: int) -> int:
    """The largest batch that fits, found by halving from ``LARGEST_AUTO`` or from what ``rows`` there are.

    One step is taken with each: memory does not depend on the number of steps.
    """
    batch = 1
    while batch < min(rows, LARGEST_AUTO):
        batch *= 2
    views, size = len(model.view_names), model.image_size
    while batch > 1:
        try:
            blank = torch.zeros(batch, views, model.channels, size, size, dtype=torch.uint8, device=model.device)
            known = torch.zeros(batch, views, dtype=torch.bool, device=model.device)
            known[:, 0] = True
            model.generate(blank, known, steps=2, solver=settings.solver, backend=settings.backend)
            break
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        batch //= 2
        torch.cuda.empty_cache()
    return batch
