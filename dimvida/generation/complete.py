"""A batch through the model, as large as memory allows, and back to the host while the next one is on its way."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from dimvida.data.cameras import angles_of
from dimvida.errors import DimvidaError, NotFinite
from dimvida.generation.plan import GenerationPlan, Row
from dimvida.generation.read import ReadBatch, view_mask
from dimvida.generation.settings import GenerationSettings
from dimvida.sampling.backends import upload
from dimvida.sampling.engine import has_graphs
from dimvida.sampling.images import require_made
from dimvida.sampling.memory import HostCopies, is_out_of_memory
from dimvida.sampling.multiview import MultiViewModel
from dimvida.sampling.trajectory import padded, sample_id

NAMED = 3  # objects that an error names


class Completer:
    """Completes batches with one model; smaller ones once memory did not suffice.

    Masks, ids and places of views are made on the host, so that no step waits for a GPU, and what it makes comes back
    beside what is made next.

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
        self._to_host = HostCopies(model.device)

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
        (pictures, good), arrive = self._to_host.begin(made, finite)

        def wait() -> Tensor:
            arrive()
            try:
                require_made(good)
            except NotFinite as error:
                raise DimvidaError(_not_finite(error, batch.rows)) from error
            if among is None:
                return pictures
            written = torch.empty(len(among), *pictures.shape[1:], dtype=torch.uint8)
            written[among], written[~among] = pictures, batch.images
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
