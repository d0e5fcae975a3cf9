"""Batches through the model, as large as memory allows, and back to the host while the next one is on its way."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch
from torch import Tensor

from dimvida.errors import DimvidaError, NotFinite
from dimvida.generation.output import stored_configuration
from dimvida.generation.read import ReadBatch
from dimvida.generation.settings import GenerationSettings
from dimvida.sampling.images import require_made
from dimvida.sampling.multiview import MultiViewModel
from dimvida.sampling.trajectory import sample_id

NAMED = 3  # objects that an error names
LARGEST_AUTO = 16384  # rows of a batch


class Completer:
    """Completes batches with one model; smaller ones once memory did not suffice.

    On CUDA the views go over from pinned memory, and come back on a stream of their own into pinned memory that is new
    for every batch (torch keeps and reuses freed pinned blocks), so a batch that leaves waits for none that is made.

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
            Waits for the completed views, and gives them: uint8 [B, V, C, H, W] on the host. From any thread.

        Raises:
            DimvidaError: Some of them are no pictures, since numbers were not finite; it names their objects. What is
                returned may raise it, too.
        """
        ids = torch.tensor([sample_id(row.task.record.id, row.draw) for row in batch.rows], dtype=torch.int64)
        names = tuple(row.task.record.id for row in batch.rows)
        parts: list[tuple[Tensor, Tensor]] = []
        start = 0
        while start < len(ids):
            rows = slice(start, start + self._limit)
            try:
                parts.append(self._generate(batch.views[rows], batch.known[rows], ids[rows]))
            except NotFinite as error:
                raise DimvidaError(_not_finite(error, names[rows])) from error
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
        made, finite = parts[0] if len(parts) == 1 else (torch.cat(kind) for kind in zip(*parts, strict=True))
        return self._leave(made, finite, names)

    def _generate(self, views: Tensor, known: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Completed views and what ``MultiViewModel.decode_views`` says of them.

        Masks and ids stay on the host, where nobody waits to look at them.
        """
        model, settings, timed = self._model, self._settings, self._timed
        images = views[known]
        if self._cuda:
            images = images.pin_memory().to(model.device, non_blocking=True)
        with timed("encode"):
            latents = model.encode_known(images, known)
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
            made, finite = model.decode_views(latents, ~known, backend=settings.backend)
        completed = views.to(model.device, copy=True)
        completed[~known] = made.permute(0, 3, 1, 2)
        return completed, finite

    def _leave(self, made: Tensor, finite: Tensor, names: tuple[str, ...]) -> Callable[[], Tensor]:
        """Send views and what ``MultiViewModel.decode_views`` says of them, bool [B, 2], to the host."""
        copied: torch.cuda.Event | None = None
        if self._outgoing is not None:
            self._outgoing.wait_stream(torch.cuda.current_stream(made.device))
            with torch.cuda.stream(self._outgoing):
                hosts = []
                for tensor in (made, finite):
                    hosts.append(_host_memory(tensor).copy_(tensor, non_blocking=True))
                    tensor.record_stream(self._outgoing)
                copied = torch.cuda.Event()
                copied.record()
            made, finite = hosts

        def wait() -> Tensor:
            if copied is not None:
                copied.synchronize()
            try:
                require_made(finite)
            except NotFinite as error:
                raise DimvidaError(_not_finite(error, names)) from error
            return made

        return wait


def _host_memory(like: Tensor) -> Tensor:
    """Memory for a copy on the host: pinned, or where that is used up ordinary memory, whose copy is waited for."""
    try:
        return torch.empty(like.shape, dtype=like.dtype, pin_memory=True)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        return torch.empty(like.shape, dtype=like.dtype)


def _not_finite(error: NotFinite, names: tuple[str, ...]) -> str:
    """One line that names the objects, each once for all of its draws."""
    objects = list(dict.fromkeys(names[row] for row in error.rows))
    return (
        f"{', '.join(objects[:NAMED])}{' and others' if len(objects) > NAMED else ''}: {error.what} are not finite "
        "(NaN or infinity), so there is no picture; the checkpoint's weights overflow, or --dtype is too narrow"
    )


OUT_OF_MEMORY = (
    "out of memory",  # of CUDA's allocator, of cudaMalloc, cudaHostAlloc and graph instantiation, of the driver
    "unable to find an engine to execute",  # cuDNN: no algorithm whose workspace can be had
    "_alloc_failed",  # CUBLAS_STATUS_ALLOC_FAILED, CUDNN_STATUS_ALLOC_FAILED and the like
    "_allocation_failed",  # CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED and the like
    "can't allocate memory",  # of the host, as torch says it,
    "cannot allocate memory",  # and as the system does
    "not enough memory",
)
"""What errors without a type of their own say, in lower case."""


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether an error says that memory did not suffice, on a GPU or on the host, or came of one that does.

    A graph whose capture runs out of memory ends in an error of its own, about the capture.
    """
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
            return True
        if isinstance(error, RuntimeError) and any(words in str(error).lower() for words in OUT_OF_MEMORY):
            return True
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return False


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
