"""Latents of objects and of altered copies of them, their statistics, and the file that keeps what is encoded."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from dimvida.errors import InputError
from dimvida.models.autoencoder import Autoencoder
from dimvida.sampling.backends import resolve_backend
from dimvida.sampling.codec import has_plan, plan_of
from dimvida.training.batches import product_dtype
from dimvida.training.config import TrainConfig
from dimvida.training.control import Interrupt, Interrupted, StartProgress
from dimvida.training.data import TrainingData
from dimvida.training.state import load_cached_tensor, save_cached_tensor, tensor_bytes

ENCODE_BATCH = 256


@torch.no_grad()
def encode_views(
    autoencoder: Autoencoder,
    images: Tensor,
    present: Tensor,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Latents float32 [N, V, D] on the CPU of uint8 images [N, V, C, H, W]; 0 where present [N, V] is False.

    In float32 by the autoencoder's layers; in bfloat16 by its plan, as ``encoding_dtype`` allows: in less than half of
    the time, 0.01 of a latent's standard deviation off (root mean square), where ``generate`` is as well.
    """
    latents = torch.zeros(*present.shape, autoencoder.config.latent_dim)

    def encode(part: Tensor) -> Tensor:
        if dtype == torch.float32:
            return autoencoder.encode(part.float() / 255)
        raw = torch.zeros(latents.shape[-1], device=device)  # not standardised
        return plan_of(autoencoder, dtype, device).encode(autoencoder, raw, raw + 1, part)

    parts = present_views(images, present).split(ENCODE_BATCH)
    latents[present] = torch.cat([encode(part.to(device)).cpu() for part in parts])
    return latents


def encoding_dtype(config: TrainConfig, autoencoder: Autoencoder, device: torch.device) -> torch.dtype:
    """What ``encode_views`` multiplies in: as the autoencoder's training does, where the autoencoder has a plan."""
    planned = resolve_backend("auto", device) == "fused" and has_plan(autoencoder)
    return product_dtype(config.autoencoder_stage.autocast, device) if planned else torch.float32


def present_views(images: Tensor, present: Tensor) -> Tensor:
    """The present ones of images [N, V, C, H, W], one after another: [n, C, H, W]."""
    return images.flatten(0, 1) if bool(present.all()) else images[present]  # a copy only where it must be one


def latent_statistics(latents: Tensor, present: Tensor, latent_shape: tuple[int, ...] = (-1,)) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation [D] of each number of the latents, or of each channel where they are grids.

    What never varies gets a standard deviation of 1e-6 instead of 0.

    Args:
        latents: float32 [N, V, D].
        present: bool [N, V], the views that count.
        latent_shape: Form of one latent: a grid's (c, n, n), whose places share the statistics of a channel, or by
            default one of D numbers.
    """
    values = latents[present].unflatten(1, latent_shape).double()
    over = [0, *range(2, values.ndim)]
    parts = values.mean(over, keepdim=True), values.std(over, correction=0, keepdim=True).clamp_min(1e-6)
    mean, std = (part.float().expand_as(values[:1]).flatten() for part in parts)
    return mean, std


@dataclass(frozen=True, slots=True)
class Variant:
    """An altered copy of objects that is as good an object as they are.

    Attributes:
        channels: The order of the colour channels, the same one in all views of an object.
        mirrored: Whether each image is flipped.
        exchanged: Whether view v of it then takes the place of view V - v. Where the network is told cameras, each
            stays in its place instead, with the opposite azimuth.
    """

    channels: tuple[int, ...]
    mirrored: bool = False
    exchanged: bool = False

    def of(self, images: Tensor) -> Tensor:
        """The altered images, [N, V, C, H, W] like the given ones."""
        images = images[:, :, list(self.channels)]
        return self.views(images).flip(-1) if self.mirrored else images

    def views(self, values: Tensor) -> Tensor:
        """What belongs to the views of the objects, [N, V, ...], put where those views are in the altered copies."""
        views = values.shape[1]
        return values[:, [-view % views for view in range(views)]] if self.exchanged else values

    def cameras(self, cameras: Tensor) -> Tensor:
        """Azimuths and elevations [V, 2] of the altered views, whose originals have the given ones."""
        return cameras * cameras.new_tensor([-1, 1]) if self.mirrored else cameras


def object_variants(channels: int, *, mirror: bool, recolour: bool, exchange: bool = True) -> list[Variant]:
    """The objects themselves, then their altered copies: 2 (``mirror``) times ``channels``! (``recolour``).

    ``exchange`` says whether mirrored views are exchanged, see ``Variant``.
    """
    plain = tuple(range(channels))
    orders = itertools.permutations(plain) if recolour else [plain]
    sides = [False, True] if mirror else [False]
    return [Variant(order, mirrored, mirrored and exchange) for order in orders for mirrored in sides]


def training_variants(config: TrainConfig, exchange: bool = True) -> list[Variant]:
    """The variants of objects that the diffusion trains on, the objects themselves first; see ``object_variants``."""
    stage = config.diffusion_stage
    return object_variants(config.autoencoder.channels, mirror=stage.mirror, recolour=stage.recolour, exchange=exchange)


# Words in names of views, and what they become in a mirror.
_MIRRORED = {"left": "right", "right": "left"} | {word: word for word in ("front", "back", "rear", "top", "bottom")}


def check_mirror(view_names: Sequence[str]) -> None:
    """Whether mirroring may take view V - v for the mirror image of view v, as far as the names tell.

    Left and right are each other's mirror images, also in names such as ``front_left``; front and back are their
    own; other names tell nothing.

    Raises:
        InputError: If the names contradict it.
    """
    for view, name in enumerate(view_names):
        partner = view_names[-view % len(view_names)]
        image = _mirrored_name(name)
        if image is not None and _mirrored_name(partner) is not None and partner.lower() != image:
            raise InputError(
                f"diffusion_stage.mirror: of the views {', '.join(view_names)}, {partner!r} would be taken for the "
                f"mirror image of {name!r}; it needs equal angles all around, such as front, right, back, left; "
                "--set diffusion_stage.mirror=false does without"
            )


def _mirrored_name(name: str) -> str | None:
    words = re.split("([^a-z]+)", name.lower())
    return "".join(_MIRRORED.get(word, word) for word in words) if _MIRRORED.keys() & set(words) else None


class LatentStore:
    """Latents of held-out objects, and of every variant of the training objects.

    They are encoded when they are asked for, in batches whose bounds do not depend on where an earlier process
    stopped. The file says what it was made of; a file of other weights, data or variants is replaced.

    Args:
        path: The file that keeps the latents.
        autoencoder: The autoencoder that encodes, in evaluation mode, on ``device``.
        data: N training and M held-out objects; latents of views that one lacks are 0.
        variants: K of them, the objects themselves first.
        data_key: Stands for these objects: others have another one.
        device: The device that encodes; the latents stay on the CPU.
        dtype: What it multiplies in, see ``encode_views``.
    """

    def __init__(
        self,
        path: Path,
        autoencoder: Autoencoder,
        data: TrainingData,
        variants: Sequence[Variant],
        data_key: str,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self._path, self._autoencoder, self._device, self._dtype = path, autoencoder, device, dtype
        self._data, self._variants = data, variants
        self._objects_at_once = max(1, ENCODE_BATCH // data.images.shape[1])
        self._key = _key(autoencoder, data_key, variants, self._objects_at_once, dtype)
        objects = len(data.held_out) + len(variants) * len(data.images)
        # Held-out objects first, then the training objects of each variant: [M + K N, V, D].
        self._latents = torch.empty(objects, data.images.shape[1], autoencoder.config.latent_dim)
        self._done = self._read()

    def plain(self, watch: StartProgress, interrupt: Interrupt) -> Tensor:
        """Latents float32 [N, V, D] of the unaltered training objects.

        Raises:
            Interrupted: If interrupted; what is finished is kept in the file.
        """
        end = len(self._data.held_out) + len(self._data.images)
        self._encode(end, watch, interrupt)
        return self._latents[len(self._data.held_out) : end]

    def all(self, watch: StartProgress, interrupt: Interrupt) -> tuple[Tensor, Tensor]:
        """Latents float32 [K, N, V, D] of all variants of the training objects, and [M, V, D] of held-out ones.

        Raises:
            Interrupted: If interrupted; what is finished is kept in the file.
        """
        self._encode(len(self._latents), watch, interrupt)
        held_out, training = self._latents.split(
            [len(self._data.held_out), len(self._variants) * len(self._data.images)]
        )
        return training.unflatten(0, (len(self._variants), len(self._data.images))), held_out

    def _encode(self, end: int, watch: StartProgress, interrupt: Interrupt) -> None:
        """Have the first ``end`` rows."""
        if self._done >= end:
            return
        before = self._done
        # Objects as people count them, whose copies are encoded too.
        objects = min(end, len(self._data.held_out) + len(self._data.images))
        show = watch("encoding", objects, "objects", before * objects // end)
        try:
            for start, images, present, variant in self._batches():
                if start < self._done:
                    continue
                if start >= end:
                    break
                if interrupt.requested:
                    raise Interrupted
                images, present = variant.of(images), variant.views(present)
                rows = encode_views(self._autoencoder, images, present, self._device, self._dtype)
                self._latents[start : start + len(rows)] = rows
                self._done = start + len(rows)
                show(self._done * objects // end)
        finally:
            if self._done > before:
                self._write()

    def _batches(self) -> Iterator[tuple[int, Tensor, Tensor, Variant]]:
        """First row, images [n, V, C, H, W], present views [n, V] and variant of every batch."""
        held_out = (self._data.held_out, self._data.held_out_present, self._variants[0])
        row = 0
        for objects, there, variant in (
            held_out,
            *((self._data.images, self._data.present, v) for v in self._variants),
        ):
            parts = objects.split(self._objects_at_once), there.split(self._objects_at_once)
            for images, present in zip(*parts, strict=True):
                yield row, images, present, variant
                row += len(images)

    def _write(self) -> None:
        save_cached_tensor(self._path, "latents", self._latents[: self._done], self._key)

    def _read(self) -> int:
        """Rows that the file has of these latents; 0 if it is missing, damaged or of others."""
        rows = load_cached_tensor(self._path, "latents", self._key)
        if rows is None:
            return 0
        bounds = {start for start, *_ in self._batches()} | {len(self._latents)}
        same_kind = rows.dtype == torch.float32 and rows.shape[1:] == self._latents.shape[1:]
        if not same_kind or len(rows) not in bounds:
            return 0
        if len(rows) == len(self._latents):
            self._latents = rows  # no copy of what may take much of the memory
        else:
            self._latents[: len(rows)] = rows
        return len(rows)


def _key(autoencoder: Autoencoder, data_key: str, variants: Sequence[Variant], batch: int, dtype: torch.dtype) -> str:
    """Hash of everything that the latents depend on."""
    digest = hashlib.sha256()
    for name, tensor in autoencoder.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor_bytes(tensor))
    # Older files know mirrored views as exchanged ones only.
    alterations = [[*v.channels, v.mirrored, *([v.exchanged] if v.exchanged != v.mirrored else [])] for v in variants]
    low_precision = [str(dtype)] if dtype != torch.float32 else []
    digest.update(json.dumps([data_key, alterations, batch, *low_precision]).encode())
    return digest.hexdigest()
