"""MultiViewModel: views in, missing views out."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import Tensor, nn

from dimvida import ops
from dimvida.diffusion.schedule import VPSchedule
from dimvida.errors import InputError
from dimvida.models.checkpoint import Checkpoint, load_checkpoint
from dimvida.sampling.loop import sample

CPU_IMAGES = 32
"""Images that a CPU encodes or decodes at once. Activations of more do not stay in its caches, and need memory that
grows with the batch."""


class MultiViewModel(nn.Module):
    """An autoencoder and a score network that together complete the views of an object.

    Attributes:
        config: The checkpoint's configuration.
        checkpoint_hash: SHA-256 over the checkpoint's files, hex.
        is_trained: False while only the autoencoder is: it encodes and decodes, but cannot generate.
    """

    latent_mean: Tensor
    latent_std: Tensor

    def __init__(self, checkpoint: Checkpoint) -> None:
        super().__init__()
        self.config = checkpoint.config
        self.checkpoint_hash = checkpoint.digest
        # Convolutions run faster on this layout, on CPUs as on GPUs; the weights are the same.
        self.autoencoder = checkpoint.autoencoder.to(memory_format=torch.channels_last)
        self.score = checkpoint.score
        # The last layer starts at zero and leaves it with the first training step.
        self.is_trained = bool(checkpoint.score.output.weight.any())
        self.register_buffer("latent_mean", checkpoint.latent_mean)
        self.register_buffer("latent_std", checkpoint.latent_std)
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
    def image_size(self) -> int:
        """Height and width of an image in pixels."""
        return self.config.autoencoder.image_size

    @property
    def channels(self) -> int:
        """Channels C of an image: 3 for RGB, 1 for gray."""
        return self.config.autoencoder.channels

    @property
    def _image_shape(self) -> tuple[int, int, int]:
        return self.channels, self.image_size, self.image_size

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.latent_mean.device

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        """Standardised latents of images.

        Args:
            images: [..., C, H, W], uint8 in 0..255 or float in [0, 1].

        Returns:
            float32 [..., D]; the leading dimensions are those of ``images``, also none or empty ones.

        Raises:
            ValueError: For another shape or dtype.
        """
        shape, dim = self._image_shape, self.config.autoencoder.latent_dim
        if tuple(images.shape[-3:]) != shape or not (images.dtype == torch.uint8 or images.is_floating_point()):
            raise ValueError(
                f"images must be uint8 or float [..., {', '.join(map(str, shape))}], "
                f"not {images.dtype} {list(images.shape)}"
            )
        pixels = images.to(self.device).reshape(-1, *shape).contiguous(memory_format=torch.channels_last)
        scale = 255 if pixels.dtype == torch.uint8 else 1
        # Not every layer takes an empty batch.
        raw = [self.autoencoder.encode(part.float() / scale) for part in self._parts(pixels)]
        raw = torch.cat(raw) if raw else pixels.new_empty(0, dim, dtype=torch.float32)
        return ((raw - self.latent_mean) / self.latent_std).reshape(*images.shape[:-3], dim)

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Images of standardised latents.

        Args:
            latents: float [..., D].

        Returns:
            float32 [..., C, H, W] in [0, 1]; the leading dimensions are those of ``latents``, also none or empty ones.

        Raises:
            ValueError: For another shape or dtype.
        """
        shape, dim = self._image_shape, self.config.autoencoder.latent_dim
        if tuple(latents.shape[-1:]) != (dim,) or not latents.is_floating_point():
            raise ValueError(f"latents must be float [..., {dim}], not {latents.dtype} {list(latents.shape)}")
        raw = latents.to(self.device).float().reshape(-1, dim) * self.latent_std + self.latent_mean
        images = [self.autoencoder.decode(part).clamp(0, 1) for part in self._parts(raw)]
        images = torch.cat(images) if images else raw.new_empty(0, *shape)
        return images.reshape(*latents.shape[:-1], *shape)

    @torch.no_grad()
    def generate(
        self,
        views: Tensor,
        known: Tensor,
        *,
        steps: int | None = None,
        solver: str | None = None,
        seed: int = 0,
        sample_ids: Tensor | None = None,
        backend: str = "auto",
        dtype: torch.dtype | None = None,
    ) -> Tensor:
        """Complete the missing views.

        Args:
            views: uint8 [B, V, C, H, W] in 0..255; entries of missing views are ignored.
            known: bool [B, V]; each row may have its own set of known views.
            steps: Network evaluations, by default the checkpoint's.
            solver: Solver name, by default the checkpoint's.
            seed: From 0 to 2^63 - 1.
            sample_ids: int64 [B], by default 0 .. B-1. A row's noise depends on its id and the seed alone.
            backend: ``auto``, ``eager`` or ``fused``, see ``dimvida.sampling.sample``.
            dtype: What the fused engine multiplies in, see there.

        Returns:
            uint8 [B, V, C, H, W] on the device of ``views``; known views bit for bit as given.

        Raises:
            ValueError: For tensors whose shape or dtype does not fit the model.
            InputError: For an unknown solver or backend, a number out of range, or a score network that was
                never trained.
        """
        self._validate(views, known)
        latents = self.encode_known(views, known)
        latents = self.sample_missing(
            latents,
            known,
            steps=steps,
            solver=solver,
            seed=seed,
            sample_ids=sample_ids,
            backend=backend,
            dtype=dtype,
        )
        return self.decode_missing(latents, views, known, backend=backend).to(views.device)

    @torch.no_grad()
    def encode_known(self, views: Tensor, known: Tensor) -> Tensor:
        """The first third of ``generate``: latents of the known views, float32 [B, V, D], 0 for the missing ones."""
        known, given = known.to(self.device), views.to(self.device)
        latents = torch.zeros(*known.shape, self.config.autoencoder.latent_dim, device=self.device)
        if known.any():
            latents[known] = self.encode(given[known])
        return latents

    @torch.no_grad()
    def sample_missing(
        self,
        latents: Tensor,
        known: Tensor,
        *,
        steps: int | None = None,
        solver: str | None = None,
        seed: int = 0,
        sample_ids: Tensor | None = None,
        backend: str = "auto",
        dtype: torch.dtype | None = None,
    ) -> Tensor:
        """The second third of ``generate``: latents float32 [B, V, D] with those of the missing views drawn.

        Raises:
            InputError: As ``generate``.
        """
        if not self.is_trained:
            raise InputError("the score network of this checkpoint is untrained; train its diffusion stage first")
        defaults = self.config.sampling
        return sample(
            self.score,
            latents,
            known.to(self.device),
            solver=solver or defaults.solver,
            steps=defaults.steps if steps is None else steps,
            seed=seed,
            sample_ids=sample_ids,
            backend=backend,
            dtype=dtype,
            x0_clip=defaults.x0_clip or math.inf,
            schedule=VPSchedule(self.config.beta0, self.config.beta1),
            prediction=self.config.score.prediction,
        )

    @torch.no_grad()
    def decode_missing(self, latents: Tensor, views: Tensor, known: Tensor, *, backend: str = "auto") -> Tensor:
        """The last third of ``generate``: ``views`` with the missing ones decoded, uint8 on the model's device."""
        known = known.to(self.device)
        completed = views.to(self.device, copy=True)
        if not known.all():
            missing = self.decode(latents[~known])
            pack = ops.reference.pack_images if backend == "eager" else ops.pack_images
            completed[~known] = pack(missing).permute(0, 3, 1, 2)
        return completed

    def _parts(self, rows: Tensor) -> list[Tensor]:
        """Rows that go through the autoencoder at once; none for an empty batch."""
        if not len(rows):
            return []
        return list(rows.split(CPU_IMAGES)) if rows.device.type == "cpu" else [rows]

    def _validate(self, views: Tensor, known: Tensor) -> None:
        shape = (len(self.view_names), *self._image_shape)
        if views.dtype != torch.uint8 or views.ndim != 5 or tuple(views.shape[1:]) != shape:
            raise ValueError(
                f"views must be uint8 [B, {', '.join(map(str, shape))}], not {views.dtype} {list(views.shape)}"
            )
        if known.dtype != torch.bool or known.shape != views.shape[:2]:
            raise ValueError(f"known must be bool {list(views.shape[:2])}, not {known.dtype} {list(known.shape)}")


def load(path_or_name: str | Path, device: str | torch.device = "cpu") -> MultiViewModel:
    """Load a model for generation.

    Args:
        path_or_name: A checkpoint folder, a training run, or ``"bundled"`` for the one in the package.
        device: Where to put it.

    Raises:
        InputError: If it is not a usable checkpoint.
    """
    return MultiViewModel(load_checkpoint(path_or_name)).to(device)
