"""The thirds of a completion: known views to latents, latents of the others drawn, those to images."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from dimvida.diffusion.schedule import VPSchedule
from dimvida.errors import InputError
from dimvida.models.checkpoint import Checkpoint
from dimvida.sampling.backends import in_plain_modes, resolve_dtype, upload
from dimvida.sampling.cameras import Cameras, camera_tensor, noise_ids
from dimvida.sampling.codec import LatentCodec
from dimvida.sampling.images import finite_rows, places_of
from dimvida.sampling.loop import backend_of, sample


class ViewCompleter(LatentCodec):
    """An autoencoder and a score network, one third of a completion at a time, so that batches can overlap."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        super().__init__(checkpoint)
        self.score = checkpoint.score
        self._is_trained = False
        self.eval()

    @property
    def view_names(self) -> tuple[str, ...]:
        """Names of the V views, in the order of every [B, V, ...] tensor."""
        return self.config.view_names

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes of the training data; may be empty."""
        return self.config.classes

    @property
    def cameras(self) -> tuple[tuple[float, float], ...] | None:
        """Azimuth and elevation of each named view in degrees; None of a model that knows its views by name alone."""
        return self.config.cameras

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

    @in_plain_modes
    def sample_missing(
        self,
        latents: Tensor,
        known: Tensor,
        *,
        cameras: Cameras | None = None,
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
            steps, solver: By default the checkpoint's.
            sample_ids: As in ``generate``.
            options: ``seed``, ``backend`` and ``dtype`` of ``generate``.

        Raises:
            InputError: As ``generate``.
        """
        if not self.is_trained:
            raise InputError("the score network of this checkpoint is untrained; train its diffusion stage first")
        at = self.cameras if cameras is None else cameras
        if at is not None:
            at = upload(camera_tensor(at), latents.device)
            ids = torch.arange(len(latents), device="cpu") if sample_ids is None else sample_ids
            sample_ids = noise_ids(upload(ids, latents.device), at)
        defaults = self.config.sampling
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
