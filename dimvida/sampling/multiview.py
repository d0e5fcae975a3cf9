"""MultiViewModel: views in, missing views out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dimvida.diffusion.schedule import VPSchedule
from dimvida.diffusion.solvers import step_table
from dimvida.errors import InputError
from dimvida.models.checkpoint import Checkpoint, load_checkpoint
from dimvida.sampling.backends import in_plain_modes, resolve_dtype, upload
from dimvida.sampling.cameras import Cameras, arrange_at, camera_tensor, cameras_of, noise_ids, turn
from dimvida.sampling.codec import LatentCodec
from dimvida.sampling.images import arrange, finite_rows, places_of, require_images, require_made, require_tensor
from dimvida.sampling.loop import backend_of, sample


class MultiViewModel(LatentCodec):
    """An autoencoder and a score network that together complete the views of an object."""

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

    @in_plain_modes
    def generate(
        self,
        views: Tensor,
        known: Tensor | str | Sequence[str],
        *,
        cameras: Cameras | None = None,
        steps: int | None = None,
        solver: str | None = None,
        seed: int = 0,
        sample_ids: Tensor | None = None,
        backend: str = "auto",
        dtype: torch.dtype | None = None,
    ) -> Tensor:
        """Complete the missing views. ``model(views, known)`` is the same.

        Args:
            views: uint8 [B, V, C, H, W] in 0..255; entries of missing views are ignored. With n names for ``known``
                also [B, n, C, H, W], the named views in that order, and with one name [B, C, H, W].
            known: bool [B, V]; each row may have its own set of known views. Or the name of the view that every row
                has, or a sequence of names.
            cameras: Any views in place of the V named ones, for a camera-conditioned model: azimuth and elevation of
                each in degrees, as pairs or float [n, 2] or [B, n, 2]. With a mask they are those of all n views that
                ``views`` and ``known`` speak of. With names they are those of the views to make: what is returned has
                the known views first, and then these.
            steps: Network evaluations, by default the checkpoint's.
            solver: Solver name, by default the checkpoint's.
            seed: From 0 to 2^63 - 1.
            sample_ids: int64 [B], by default 0 .. B-1. A row's noise depends on its id and the seed, and that of its
                views on their places; of a camera-conditioned model on their cameras, so that whoever asks for more
                views has the same noise in the others.
            backend: ``auto``, ``eager`` or ``fused``, see ``dimvida.sampling.sample``.
            dtype: What the fused engine multiplies in, see there.

        Returns:
            uint8 [B, V, C, H, W] on the device of ``views``, or [B, n, C, H, W] of ``cameras``; known views bit for
            bit as given.

        Raises:
            TypeError: For what is no tensor.
            ValueError: For tensors whose shape or dtype does not fit the model.
            InputError: For a view that the model does not have, an unknown solver or backend, a number out of range,
                or a score network that was never trained.
            NotFinite: Numbers overflow, and nothing of these rows is a picture.

        Example:
            >>> import torch, dimvida
            >>> model = dimvida.load("bundled")
            >>> front = torch.full((2, 3, 64, 64), 255, dtype=torch.uint8)  # two objects
            >>> completed = model.generate(front, "front", seed=0)
            >>> completed.shape, model.view_names
            (torch.Size([2, 4, 3, 64, 64]), ('front', 'right', 'back', 'left'))
            >>> known = torch.tensor([[True, False, False, False], [True, True, False, False]])
            >>> again = model(completed, known)  # each row from views of its own
            >>> bool((again[known] == completed[known]).all())
            True
        """
        given = views
        shape = self.config.autoencoder.image_shape
        if cameras is None:
            views, known = arrange(views, known, self.view_names, shape)
        else:
            views, known, cameras = arrange_at(views, known, cameras, self._named_cameras(), shape)
        if sample_ids is not None:
            require_tensor("sample_ids", sample_ids, f"int64 [{len(views)}]")
        how: dict[str, Any] = {"backend": backend, "dtype": dtype}
        images = views.flatten(0, 1).index_select(0, upload(places_of(known), views.device))
        latents = self.encode_known(images, known, **how)
        latents = self.sample_missing(
            latents, known, cameras=cameras, steps=steps, solver=solver, seed=seed, sample_ids=sample_ids, **how
        )
        made, finite = self.decode_views(latents, ~known, **how)
        completed = views.to(self.device, copy=True, memory_format=torch.contiguous_format)
        completed.flatten(0, 1).index_copy_(0, upload(places_of(~known), self.device), made.permute(0, 3, 1, 2))
        require_made(finite)
        return completed.to(given.device)

    def forward(self, views: Tensor, known: Tensor | str | Sequence[str], **options: Any) -> Tensor:
        """``generate``."""
        return self.generate(views, known, **options)

    def turntable(
        self,
        images: Tensor,
        count: int = 24,
        *,
        at: str | Sequence[str] | Cameras | None = None,
        elevation: float | None = None,
        **options: Any,
    ) -> Tensor:
        """Views at even distances around one object, by a camera-conditioned model.

        Args:
            images: The known views, uint8 [C, H, W] or [k, C, H, W].
            count: Number of views, at least 1.
            at: Where they were taken: the name of a view of the model or several, or azimuth and elevation of each in
                degrees, [k, 2]. By default the only one is at azimuth 0, at the elevation of the model's first view.
            elevation: Of the views that are made, by default that of the first image.
            options: ``steps``, ``solver``, ``seed``, ``sample_ids``, ``backend`` and ``dtype`` of ``generate``.

        Returns:
            uint8 [count, C, H, W]. The first is at the azimuth of the first image, and each further one the camera
            moved to the viewer's right. A view that was given is as it was given.

        Raises:
            InputError, ValueError, TypeError: As ``generate``.
        """
        named, shape = self._named_cameras(), self.config.autoencoder.image_shape
        require_images(images, shape, floating=False)
        images = images.reshape(-1, *shape)
        at = cameras_of([(0.0, self.cameras[0][1])] if at is None else at, named)
        views, known, cameras, order = turn(images, at, count, elevation)
        return self.generate(views, known, cameras=cameras, **options)[0, order]

    def _named_cameras(self) -> dict[str, tuple[float, float]]:
        """The model's own views, and where they are.

        Raises:
            InputError: It has no cameras.
        """
        if self.cameras is None:
            raise InputError(
                f"the model has no cameras, so it makes its views {', '.join(self.view_names)} and no others; "
                "train one on data with cameras"
            )
        return dict(zip(self.view_names, self.cameras, strict=True))

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


def load(path_or_name: str | Path, device: str | torch.device = "cpu") -> MultiViewModel:
    """Load a model for generation.

    It computes in float32, wherever it is called: inside ``torch.autocast`` and under another default dtype too.
    After ``.half()``, ``.bfloat16()`` or ``.double()`` its autoencoder computes in that, and its score network, with
    those weights, in float32 or in what ``generate`` is asked for. What it takes and returns stays as documented.

    Args:
        path_or_name: A checkpoint folder, a training run, or ``"bundled"`` for the one in the package.
        device: The device that the model is put on.

    Raises:
        InputError: If it is not a usable checkpoint.

    Example:
        >>> import dimvida
        >>> model = dimvida.load("bundled")
        >>> model.view_names, model.image_size
        (('front', 'right', 'back', 'left'), 64)
    """
    # Inference mode would leave weights that can never be changed; another default device, those of no file.
    with torch.inference_mode(False), torch.device("cpu"):
        model = MultiViewModel(load_checkpoint(path_or_name)).to(device)
    defaults = model.config.sampling
    try:
        step_table(defaults.solver, defaults.steps)
    except InputError as error:
        raise InputError(f"checkpoint {path_or_name}: its defaults for sampling: {error}") from None
    return model
