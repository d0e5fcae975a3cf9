"""Batches through the model, and back to the host while the next one is on its way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from dimvida.errors import DimvidaError, NotFinite
from dimvida.generation.read import GivenBatch
from dimvida.generation.settings import GenerationSettings
from dimvida.generation.times import StageTimes
from dimvida.sampling.images import require_made
from dimvida.sampling.multiview import MultiViewModel
from dimvida.sampling.trajectory import sample_id

NAMED = 3  # objects that an error names


@dataclass(frozen=True, slots=True)
class Completed:
    """Views on their way to the host.

    Attributes:
        views: uint8 [B, V, C, H, W] on the host.
        finite: bool [B, 2] on the host, see ``MultiViewModel.decode_missing``; None where nothing was made.
        names: Of the B objects.
        copied: What marks the end of the copy on CUDA; None where the views are there.
    """

    views: Tensor
    finite: Tensor | None = None
    names: tuple[str, ...] = ()
    copied: torch.cuda.Event | None = None

    def wait(self) -> Tensor:
        """The views, complete.

        Raises:
            DimvidaError: Some of them are no pictures, since numbers were not finite. It names their objects.
        """
        if self.copied is not None:
            self.copied.synchronize()
        if self.finite is not None:
            try:
                require_made(self.finite)
            except NotFinite as error:
                raise DimvidaError(_not_finite(error, self.names)) from error
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
        self, model: MultiViewModel, settings: GenerationSettings, times: StageTimes, note: Callable[[str], object]
    ) -> None:
        self._model, self._settings, self._times, self._note = model, settings, times, note
        self._limit = settings.batch
        self._cuda = model.device.type == "cuda"
        self._outgoing = torch.cuda.Stream(model.device) if self._cuda else None

    def complete(self, given: GivenBatch) -> Completed:
        """Complete a batch. Rows that did not fit into memory together are made again in halves.

        Raises:
            DimvidaError: As ``Completed.wait``.
        """
        ids = torch.tensor([sample_id(row.task.record.id, row.draw) for row in given.rows], dtype=torch.int64)
        names = tuple(row.task.record.id for row in given.rows)
        parts: list[tuple[Tensor, Tensor]] = []
        start = 0
        while start < len(ids):
            rows = slice(start, start + self._limit)
            try:
                parts.append(self._generate(given.views[rows], given.known[rows], ids[rows]))
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
        """As ``MultiViewModel.decode_missing``. Masks and ids stay on the host, where nobody waits to look at them."""
        model, settings, times = self._model, self._settings, self._times
        if self._cuda:
            views = views.pin_memory().to(model.device, non_blocking=True)
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

    def _leave(self, made: Tensor, finite: Tensor, names: tuple[str, ...]) -> Completed:
        if self._outgoing is None:
            return Completed(made, finite, names)
        self._outgoing.wait_stream(torch.cuda.current_stream(made.device))
        with torch.cuda.stream(self._outgoing):
            hosts = []
            for tensor in (made, finite):
                hosts.append(_host_memory(tensor).copy_(tensor, non_blocking=True))
                tensor.record_stream(self._outgoing)
            copied = torch.cuda.Event()
            copied.record()
        return Completed(*hosts, names, copied)


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
