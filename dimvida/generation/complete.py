"""Batches through the model, as large as memory allows, and back to the host while the next one is on its way."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch
from torch import Tensor

from dimvida.data.cameras import angles_of
from dimvida.errors import DimvidaError, NotFinite
from dimvida.generation.output import stored_configuration
from dimvida.generation.plan import GenerationPlan, Row
from dimvida.generation.read import ReadBatch, view_mask
from dimvida.generation.settings import GenerationSettings
from dimvida.sampling.backends import upload
from dimvida.sampling.engine import has_graphs
from dimvida.sampling.images import require_made
from dimvida.sampling.memory import host_memory, is_out_of_memory
from dimvida.sampling.multiview import MultiViewModel
from dimvida.sampling.trajectory import padded, sample_id

NAMED = 3  # objects that an error names
LARGEST_AUTO = 16384  # rows of a batch
FIRST_TRIED = 64
SHARE_OF_MEMORY = 0.9  # that a batch may take: pictures of the one before are still on their way


class Completer:
    """Completes batches with one model; smaller ones once memory did not suffice.

    Masks, ids and places of views are made on the host, so that no step waits for a GPU. What it makes comes back on a
    stream of its own into pinned memory, so a batch that leaves waits for none that is made.

    A view at a camera is made together with the known and the wanted ones of its object and with no others, so that an
    object's pictures do not depend on what else is in its batch.

    Args:
        model: The model.
        settings: What it is asked for.
        plan: The plan of all rows.
        note: Called with a line when a batch was too large.
        timed: Is entered, by its name, around each stage of the work: ``encode``, ``sample`` and ``decode``.
    """

    def __init__(
        self,
        model: MultiViewModel,
        settings: GenerationSettings,
        plan: GenerationPlan,
        note: Callable[[str], object] = lambda text: None,
        timed: Callable[[str], AbstractContextManager[None]] = lambda stage: nullcontext(),
    ) -> None:
        self._model, self._settings, self._note, self._timed = model, settings, note, timed
        self._views, angles = plan.view_names, angles_of(plan.cameras, plan.view_names)
        self._cameras = None if angles is None else torch.tensor(angles, dtype=torch.float32, device="cpu")
        self._limit = settings.batch
        self._most = min(settings.batch, settings.shard_size, len(plan))  # rows of any batch
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
        known = view_mask(self._views, [row.task.known for row in batch.rows])
        wanted = view_mask(self._views, [row.task.targets for row in batch.rows])
        alike = self._alike(known | wanted)
        parts = [part for rows in alike for part in self._in_parts(batch, rows, known, wanted)]
        made, finite = parts[0] if len(parts) == 1 else (torch.cat(kind) for kind in zip(*parts, strict=True))
        if len(alike) > 1:
            made, finite = _in_order(made, finite, alike, wanted)
        return self._leave(made, finite, batch, wanted[known | wanted] if self._settings.include_known else None)

    def _alike(self, used: Tensor) -> list[list[int]]:
        """The rows that can be computed together: all of them, or at cameras those of as many views."""
        if self._cameras is None:
            return [list(range(len(used)))]
        counts = used.sum(1).tolist()
        return [[row for row, count in enumerate(counts) if count == views] for views in sorted(set(counts))]

    def _in_parts(
        self, batch: ReadBatch, rows: list[int], known: Tensor, wanted: Tensor
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """What ``_generate`` makes of some rows, as many at a time as fit."""
        first = [0, *known.sum(1).cumsum(0).tolist()]  # image of each row
        while rows:
            now = rows[: self._limit]
            tasks = [batch.rows[row] for row in now]
            ids = torch.tensor([sample_id(row.task.record.id, row.draw) for row in tasks], dtype=torch.int64)
            if now[-1] - now[0] + 1 == len(now):
                images = batch.images[first[now[0]] : first[now[-1] + 1]]
            else:
                images = torch.cat([batch.images[first[row] : first[row + 1]] for row in now])
            try:
                part = self._generate(images, known[now], wanted[now], ids)
            except NotFinite as error:
                raise DimvidaError(_not_finite(error, tasks)) from error
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error) or len(now) == 1:
                    raise
                self._limit = len(now) // 2
                self._note(f"out of memory with {len(now)} rows; going on with batches of {self._limit}")
            else:
                yield part
                rows = rows[len(now) :]
                continue
            # Outside of the handler, whose traceback holds on to the tensors that did not fit.
            if self._cuda:
                torch.cuda.empty_cache()

    def _generate(self, images: Tensor, known: Tensor, wanted: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
        """The wanted views of some rows, and whether their numbers are finite, see ``MultiViewModel.decode_views``."""
        model, settings, timed = self._model, self._settings, self._timed
        cameras = None
        if self._cameras is not None:  # of each row its own views alone
            used = (known | wanted).nonzero()[:, 1].view(len(known), -1)  # [B, n] places among the plan's views
            known, wanted, cameras = known.gather(1, used), wanted.gather(1, used), self._cameras[used]
        with timed("encode"):
            images = images.to(model.device, non_blocking=True).permute(0, 3, 1, 2)
            latents = model.encode_known(images, known, backend=settings.backend, dtype=settings.torch_dtype)
        with timed("sample"):
            rows = self._graph_rows(len(known))
            latents = model.sample_missing(
                padded(latents, rows),
                padded(known, rows),
                sample_ids=padded(ids, rows),
                cameras=cameras if cameras is None else padded(cameras, rows),
                **settings.sampling,
            )[: len(known)]
        with timed("decode"):
            return model.decode_views(latents, wanted, backend=settings.backend, dtype=settings.torch_dtype)

    def _graph_rows(self, rows: int) -> int:
        """The rows that a batch is sampled with: where that is a graph all that a batch may have, whatever it has.

        A run then captures one, although its last batch is smaller, as are those with files that cannot be read.
        """
        graphs = self._settings.backend == "fused" and has_graphs(self._model.device)
        return max(rows, min(self._limit, self._most)) if graphs else rows

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
                raise DimvidaError(_not_finite(error, batch.rows)) from error
            if among is None:
                return made
            written = torch.empty(len(among), *made.shape[1:], dtype=torch.uint8)
            written[among], written[~among] = made, batch.images
            return written

        return wait


def _in_order(made: Tensor, finite: Tensor, groups: list[list[int]], wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Pictures, and whether rows are finite, of groups of rows in the order of the rows."""
    rows = torch.tensor([row for group in groups for row in group], device="cpu")
    places = rows.argsort()
    pictures = made.split(wanted.sum(1)[rows].tolist())
    return torch.cat([pictures[place] for place in places.tolist()]), finite[upload(places, finite.device)]


def _not_finite(error: NotFinite, rows: Sequence[Row]) -> str:
    """One line that names the objects, each once for all of its draws."""
    objects = list(dict.fromkeys(rows[row].task.record.id for row in error.rows))
    return (
        f"{', '.join(objects[:NAMED])}{' and others' if len(objects) > NAMED else ''}: {error.what} are not finite "
        "(NaN or infinity), so there is no picture; the checkpoint's weights overflow, or --dtype is too narrow"
    )


def best_batch(
    model: MultiViewModel, settings: GenerationSettings, plan: GenerationPlan, folder: Path, overwrite: bool
) -> int:
    """The batch that ``--batch auto`` means.

    An output that is continued keeps its batch. Otherwise it is the largest that fits on a GPU, found by trying, and
    the default on a CPU, which gains nothing from larger ones.

    Args:
        model: What completes the views.
        settings: What it is asked for, with the default batch.
        plan: What is completed.
        folder: The output folder, which need not exist.
        overwrite: Whether what is there will be replaced.
    """
    stored = None if overwrite else stored_configuration(folder)
    if stored is not None and isinstance(stored.get("batch"), int):
        return stored["batch"]
    if model.device.type != "cuda":
        return settings.batch
    views = None if plan.cameras is None else max(len(task.known) + len(task.targets) for task in plan.tasks)
    return largest_batch(model, settings, len(plan), views)


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
        cameras=None if views is None else [(0.0, 0.0)] * views,
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
