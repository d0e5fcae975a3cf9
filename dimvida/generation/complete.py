"""Batches through the model, as large as memory allows, and back to the host while the next one is on its way."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch
from torch import Tensor

from dimvida.errors import DimvidaError, NotFinite
from dimvida.generation.output import stored_configuration
from dimvida.generation.read import ReadBatch, view_mask
from dimvida.generation.settings import GenerationSettings
from dimvida.sampling.images import require_made
from dimvida.sampling.memory import host_memory, is_out_of_memory
from dimvida.sampling.multiview import MultiViewModel
from dimvida.sampling.trajectory import sample_id

NAMED = 3  # objects that an error names
LARGEST_AUTO = 16384  # rows of a batch


class Completer:
    """Completes batches with one model; smaller ones once memory did not suffice.

    Masks, ids and places of views are made on the host, so that no step waits for a GPU. What it makes comes back on a
    stream of its own into pinned memory, so a batch that leaves waits for none that is made.

    Args:
        model: The model.
        settings: What it is asked for.
        note: Called with a line when a batch was too large.
        timed: Is entered, by its name, around each stage of the work: ``encode``, ``sample`` and ``decode``.
    """

    def __init__(
        self,
        model: MultiViewModel,
        settings: GenerationSettings,
        note: Callable[[str], object] = lambda text: None,
        timed: Callable[[str], AbstractContextManager[None]] = lambda stage: nullcontext(),
    ) -> None:
        self._model, self._settings, self._note, self._timed = model, settings, note, timed
        self._limit = settings.batch
        self._cuda = model.device.type == "cuda"
        self._outgoing = torch.cuda.Stream(model.device) if self._cuda else None

    def complete(self, batch: ReadBatch) -> Callable[[], Tensor]:
        """Complete a batch of at least one row. Rows that did not fit into memory together are made again in halves.

        Returns:
            Waits for the pictures that are to be written, and gives them: uint8 [N, H, W, C] on the host, row after row
            in the order of the views; with ``include_known`` the known ones are among them. From any thread.

        Raises:
            DimvidaError: Some of them are no pictures, since numbers were not finite; it names their objects. What is
                returned may raise it, too.
        """
        names = self._model.view_names
        known = view_mask(names, [row.task.known for row in batch.rows])
        wanted = view_mask(names, [row.task.targets for row in batch.rows])
        first = [0, *known.sum(1).cumsum(0).tolist()]  # image of each row
        ids = torch.tensor([sample_id(row.task.record.id, row.draw) for row in batch.rows], dtype=torch.int64)
        parts: list[tuple[Tensor, Tensor]] = []
        start, stop = 0, len(ids)
        while start < stop:
            end = min(start + self._limit, stop)
            rows, images = slice(start, end), batch.images[first[start] : first[end]]
            try:
                parts.append(self._generate(images, known[rows], wanted[rows], ids[rows]))
            except NotFinite as error:
                raise DimvidaError(_not_finite(error, batch, start)) from error
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error) or end - start == 1:
                    raise
                self._limit = (end - start) // 2
                self._note(f"out of memory with {end - start} rows; going on with batches of {self._limit}")
            else:
                start = end
                continue
            # Outside of the handler, whose traceback holds on to the tensors that did not fit.
            if self._cuda:
                torch.cuda.empty_cache()
        made, finite = parts[0] if len(parts) == 1 else (torch.cat(kind) for kind in zip(*parts, strict=True))
        return self._leave(made, finite, batch, wanted[known | wanted] if self._settings.include_known else None)

    def _generate(self, images: Tensor, known: Tensor, wanted: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
        """The wanted views of some rows, and whether their numbers are finite, see ``MultiViewModel.decode_views``."""
        model, settings, timed = self._model, self._settings, self._timed
        with timed("encode"):
            latents = model.encode_known(images.to(model.device, non_blocking=True).permute(0, 3, 1, 2), known)
        with timed("sample"):
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
        with timed("decode"):
            return model.decode_views(latents, wanted, backend=settings.backend)

    def _leave(self, made: Tensor, finite: Tensor, batch: ReadBatch, among: Tensor | None) -> Callable[[], Tensor]:
        """Send pictures, and whether rows are finite, bool [B, 2], to the host.

        ``among`` says which of the pictures that are written were made, bool [N]; None if all.
        """
        copied: torch.cuda.Event | None = None
        if self._outgoing is not None:
            self._outgoing.wait_stream(torch.cuda.current_stream(made.device))
            with torch.cuda.stream(self._outgoing):
                hosts = []
                for tensor in (made, finite):
                    host = host_memory(*tensor.shape, pinned=True).view(tensor.dtype)
                    hosts.append(host.copy_(tensor, non_blocking=True))
                    tensor.record_stream(self._outgoing)
                copied = torch.cuda.Event(blocking=True)  # whoever waits leaves its core to others
                copied.record()
            made, finite = hosts

        def wait() -> Tensor:
            if copied is not None:
                copied.synchronize()
            try:
                require_made(finite)
            except NotFinite as error:
                raise DimvidaError(_not_finite(error, batch)) from error
            if among is None:
                return made
            written = torch.empty(len(among), *made.shape[1:], dtype=torch.uint8)
            written[among], written[~among] = made, batch.images
            return written

        return wait


def _not_finite(error: NotFinite, batch: ReadBatch, start: int = 0) -> str:
    """One line that names the objects, each once for all of its draws; rows count from ``start``."""
    objects = list(dict.fromkeys(batch.rows[start + row].task.record.id for row in error.rows))
    return (
        f"{', '.join(objects[:NAMED])}{' and others' if len(objects) > NAMED else ''}: {error.what} are not finite "
        "(NaN or infinity), so there is no picture; the checkpoint's weights overflow, or --dtype is too narrow"
    )


def best_batch(model: MultiViewModel, settings: GenerationSettings, rows: int, folder: Path, overwrite: bool) -> int:
    """The batch that ``--batch auto`` means.

    An output that is continued keeps its batch. Otherwise it is the largest that fits on a GPU, found by trying, and
    the default on a CPU, which gains nothing from larger ones.

    Args:
        model: What completes the views.
        settings: What it is asked for, with the default batch.
        rows: Rows of the plan.
        folder: The output folder, which need not exist.
        overwrite: Whether what is there will be replaced.
    """
    stored = None if overwrite else stored_configuration(folder)
    if stored is not None and isinstance(stored.get("batch"), int):
        return stored["batch"]
    return largest_batch(model, settings, rows) if model.device.type == "cuda" else settings.batch


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
