"""A batch completed: known views to latents, latents of the others drawn, those to images; as many rows at a time as
memory allows, and back to the host while the next batch is on its way."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from dimvida.diffusion.schedule import VPSchedule
from dimvida.errors import DimvidaError, InputError, NotFinite
from dimvida.models.checkpoint import Checkpoint
from dimvida.sampling.backends import in_plain_modes, plain_modes, resolve_dtype, upload
from dimvida.sampling.cameras import CameraAngles, camera_tensor, noise_ids
from dimvida.sampling.codec import LatentCodec
from dimvida.sampling.engine import has_graphs
from dimvida.sampling.images import finite_rows, places_of, require_made
from dimvida.sampling.loop import backend_of, sample
from dimvida.sampling.memory import HostCopies, is_out_of_memory
from dimvida.sampling.trajectory import padded, repeated

NAMED = 3  # objects that an error names


class ViewCompleter(LatentCodec):
    """An autoencoder and a score network, one third of a completion at a time, so that batches can overlap."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        super().__init__(checkpoint)
        self.score = checkpoint.score
        self._is_trained = False
        self.eval()

    @property
    def is_trained(self) -> bool:
        """False while only the autoencoder is: it encodes and decodes, but cannot generate."""
        # Asked until it is: weights may be loaded later. No longer, since asking a GPU waits for it.
        self._is_trained = self._is_trained or self.score.is_trained
        return self._is_trained

    # The thirds of generate. Where known views stand is found on the host, where their mask comes from: asking a GPU
    # for it would wait for all that it has still to do.

    @in_plain_modes
    def encode_known(
        self, images: Tensor, known: Tensor, *, backend: str = "auto", dtype: torch.dtype | None = None
    ) -> Tensor:
        """The first third of ``generate``: latents of the known views, float32 [B, V, D], 0 for the missing ones.

        ``images`` are those of the known views, uint8 [N, C, H, W], row after row in the order of the views. They are
        not checked; ``decode_views`` does that with the latents.
        """
        latents = self.latent_mean.new_zeros(known.numel(), self.config.autoencoder.latent_dim, dtype=torch.float32)
        given = self.encode_bytes(images.to(self.device), self._plan_dtype(backend, dtype))
        latents.index_copy_(0, upload(places_of(known), self.device), given)
        return latents.unflatten(0, known.shape)

    def sample_missing(
        self,
        latents: Tensor,
        known: Tensor,
        *,
        cameras: CameraAngles | None = None,
        steps: int | None = None,
        solver: str | None = None,
        sample_ids: Tensor | None = None,
        **options: Any,
    ) -> Tensor:
        """The second third of ``generate``: latents float32 [B, V, D] with those of the missing views drawn.

        Args:
            latents: float32 [B, V, D]; entries of missing views are ignored.
            known: bool [B, V].
            cameras: Of all V views, where they are not the named ones.
            steps, solver: Number of network evaluations, and name of a solver; by default those of the checkpoint.
            sample_ids: int64 [B], which the noise of each row depends on; by default 0 .. B-1.
            options: ``seed``, ``backend`` and ``dtype`` of ``generate``.

        Raises:
            InputError: An option is no choice that there is, or the score network was never trained.
        """
        if not self.is_trained:
            raise InputError("the score network of this checkpoint is untrained; train its diffusion stage first")
        at = self.cameras if cameras is None else cameras
        defaults = self.config.sampling
        with plain_modes(self.device):
            if at is not None:
                at = upload(camera_tensor(at), latents.device)
                ids = torch.arange(len(latents), device="cpu") if sample_ids is None else sample_ids
                sample_ids = noise_ids(upload(ids, latents.device), at)
            return sample(
                self.score,
                latents,
                known,
                solver=defaults.solver if solver is None else solver,
                steps=defaults.steps if steps is None else steps,
                x0_clip=defaults.x0_clip or math.inf,
                schedule=VPSchedule(self.config.beta0, self.config.beta1),
                prediction=self.config.score.prediction,
                sample_ids=sample_ids,
                views=at,
                **options,
            )

    @in_plain_modes
    def decode_views(
        self, latents: Tensor, wanted: Tensor, *, backend: str = "auto", dtype: torch.dtype | None = None
    ) -> tuple[Tensor, Tensor]:
        """The last third of ``generate``: the images of some views, where ``wanted``, bool [B, V], says so.

        Returns:
            uint8 [N, H, W, C], row after row in the order of the views, and what ``require_made`` looks at, bool
            [B, 2]: whether a row's latents, and its images, are finite; both on the model's device.
        """
        places = upload(places_of(wanted), self.device)
        chosen = latents.flatten(0, 1).index_select(0, places)
        images, finite_images = self.decode_bytes(chosen, self._plan_dtype(backend, dtype))
        finite = torch.ones(wanted.numel(), dtype=torch.bool, device=self.device)
        finite.index_copy_(0, places, finite_images)
        return images, torch.stack([finite_rows(latents), finite.view(wanted.shape).all(1)], 1)

    def _plan_dtype(self, backend: str, dtype: torch.dtype | None) -> torch.dtype | None:
        """What the autoencoder is to be computed in by a plan; None for its layers themselves."""
        backend = backend_of(self.score, backend, self.device)
        dtype = resolve_dtype(dtype, backend, self.device)
        return None if backend == "eager" else dtype


class BatchCompleter:
    """Completes batches with one model, and takes them in smaller parts once memory did not suffice.

    Masks, ids and places of views are made on the host, so that no step waits for a GPU, and what it makes comes back
    beside what is made next.

    A view at a camera is made together with the known and the wanted ones of its object and with no others, so that an
    object's pictures do not depend on what else is in its batch.

    Args:
        model: The model that generates the missing views.
        rows: The most rows of a batch.
        sampling: ``steps``, ``solver``, ``seed``, ``backend`` and ``dtype`` of ``MultiViewModel.generate``, with
            nothing left open.
        cameras: Azimuth and elevation of each view in degrees, where they are not the model's named ones.
        note: Called with a line when a batch was too large.
        timed: Is entered, by its name, around each stage of the work: ``encode``, ``sample`` and ``decode``.
    """

    def __init__(
        self,
        model: ViewCompleter,
        rows: int,
        sampling: dict[str, Any],
        cameras: Sequence[tuple[float, float]] | None = None,
        note: Callable[[str], object] = lambda text: None,
        timed: Callable[[str], AbstractContextManager[None]] = lambda stage: nullcontext(),
    ) -> None:
        self._model, self._rows, self._sampling, self._note, self._timed = model, rows, sampling, note, timed
        self._how = {name: sampling[name] for name in ("backend", "dtype")}
        self._cameras = None if cameras is None else camera_tensor(cameras)
        self._to_host = HostCopies(model.device)

    def complete(
        self, images: Tensor, known: Tensor, wanted: Tensor, sample_ids: Tensor, names: Sequence[str]
    ) -> Callable[[], Tensor]:
        """Complete a batch of at least one row. Rows that did not fit into memory together are made again in halves.

        Args:
            images: The known views, uint8 [N, H, W, C] on the host, row after row in the order of the views.
            known: Which they are, bool [B, V] on the host.
            wanted: The views to make, bool [B, V] on the host.
            sample_ids: int64 [B] on the host, see ``MultiViewModel.generate``.
            names: What an error calls each row.

        Returns:
            Waits for the views that were made, and gives them: uint8 [N, H, W, C] on the host, row after row in the
            order of the views. From any thread.

        Raises:
            DimvidaError: Some of them are no pictures, since numbers were not finite; it names their rows. What is
                returned may raise it, too.
        """
        alike = self._alike(known | wanted)
        first = [0, *known.sum(1).cumsum(0).tolist()]  # image of each row

        def generate(rows: list[int]) -> tuple[Tensor, Tensor]:
            if rows[-1] - rows[0] + 1 == len(rows):
                given = images[first[rows[0]] : first[rows[-1] + 1]]
            else:
                given = torch.cat([images[first[row] : first[row + 1]] for row in rows])
            try:
                return self._generate(given, known[rows], wanted[rows], sample_ids[rows])
            except NotFinite as error:
                raise _not_finite(error, [names[row] for row in rows]) from error

        parts = [part for rows in alike for part in self._in_parts(rows, generate)]
        made, finite = parts[0] if len(parts) == 1 else (torch.cat(kind) for kind in zip(*parts, strict=True))
        if len(alike) > 1:
            made, finite = _in_order(made, finite, alike, wanted)
        (pictures, good), arrive = self._to_host.begin(made, finite)

        def wait() -> Tensor:
            arrive()
            try:
                require_made(good)
            except NotFinite as error:
                raise _not_finite(error, names) from error
            return pictures

        return wait

    def _alike(self, used: Tensor) -> list[list[int]]:
        """The rows that can be computed together: all of them, or at cameras those of as many views."""
        if self._cameras is None:
            return [list(range(len(used)))]
        counts = used.sum(1).tolist()
        return [[row for row, count in enumerate(counts) if count == views] for views in sorted(set(counts))]

    def _in_parts(
        self, rows: list[int], generate: Callable[[list[int]], tuple[Tensor, Tensor]]
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """What ``generate`` makes of some rows, as many at a time as fit."""
        while rows:
            now = rows[: self._rows]
            try:
                part = generate(now)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error) or len(now) == 1:
                    raise
                self._rows = len(now) // 2
                self._note(f"out of memory with {len(now)} rows; going on with batches of {self._rows}")
            else:
                yield part
                rows = rows[len(now) :]
                continue
            # Outside of the handler, whose traceback holds on to the tensors that did not fit.
            if self._model.device.type == "cuda":
                torch.cuda.empty_cache()

    def _generate(self, images: Tensor, known: Tensor, wanted: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
        """The wanted views of some rows, and whether their numbers are finite, see ``decode_views``."""
        model, timed, cameras = self._model, self._timed, None
        if self._cameras is not None:  # of each row its own views alone
            used = (known | wanted).nonzero()[:, 1].view(len(known), -1)  # [B, n] places among all of them
            known, wanted, cameras = known.gather(1, used), wanted.gather(1, used), self._cameras[used]
        with timed("encode"):
            images = images.to(model.device, non_blocking=True).permute(0, 3, 1, 2)
            latents = model.encode_known(images, known, **self._how)
        with timed("sample"):
            # Where that is a graph with all rows that a batch may have, whatever it has: a run then captures one,
            # although its last batch is smaller, as are those with files that cannot be read.
            graphs = self._how["backend"] == "fused" and has_graphs(model.device)
            rows = max(len(known), self._rows) if graphs else len(known)
            latents = model.sample_missing(
                padded(latents, rows),
                repeated(known, rows),
                sample_ids=padded(ids, rows),
                cameras=cameras if cameras is None else padded(cameras, rows),
                **self._sampling,
            )[: len(known)]
        with timed("decode"):
            return model.decode_views(latents, wanted, **self._how)


def _in_order(made: Tensor, finite: Tensor, groups: list[list[int]], wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Pictures, and whether rows are finite, of groups of rows in the order of the rows."""
    rows = torch.tensor([row for group in groups for row in group], device="cpu")
    places = rows.argsort()
    pictures = made.split(wanted.sum(1)[rows].tolist())
    return torch.cat([pictures[place] for place in places.tolist()]), finite[upload(places, finite.device)]


def _not_finite(error: NotFinite, names: Sequence[str]) -> DimvidaError:
    """One line that names the objects, each once for all of its draws."""
    objects = list(dict.fromkeys(names[row] for row in error.rows))
    return DimvidaError(
        f"{', '.join(objects[:NAMED])}{' and others' if len(objects) > NAMED else ''}: {error.what} are not finite "
        "(NaN or infinity), so there is no picture; the checkpoint's weights overflow, or --dtype is too narrow"
    )
