"""Encoding the training data once: the latents are kept in the run's folder, as far as they are finished."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from dimvida.models.autoencoder import Autoencoder
from dimvida.training.interrupt import Interrupt, Stopped
from dimvida.training.kept import keep, kept, tensor_bytes
from dimvida.training.latents import ENCODE_BATCH, Variant, encode_views
from dimvida.training.progress import Watcher


class LatentStore:
    """Latents of held-out objects, and of every variant of the training objects.

    They are encoded when they are asked for, in batches whose bounds do not depend on where an earlier process
    stopped. The file says what it was made of; a file of other weights, data or variants is replaced.

    Args:
        path: The file.
        autoencoder: In evaluation mode, on ``device``.
        images: Training objects, uint8 [N, V, C, H, W].
        held_out: Held-out objects, uint8 [M, V, C, H, W].
        present: The views that training objects have, bool [N, V]; latents of others are 0.
        held_out_present: Those of held-out objects, bool [M, V].
        variants: K of them, the objects themselves first.
        data_key: Stands for these objects: others have another one.
        device: Where to compute; the latents stay on the CPU.
        batch: Images encoded at a time.
    """

    def __init__(
        self,
        path: Path,
        autoencoder: Autoencoder,
        images: Tensor,
        held_out: Tensor,
        present: Tensor,
        held_out_present: Tensor,
        variants: Sequence[Variant],
        data_key: str,
        device: torch.device,
        batch: int = ENCODE_BATCH,
    ) -> None:
        self._path, self._autoencoder, self._device = path, autoencoder, device
        self._images, self._held_out, self._variants = images, held_out, variants
        self._present, self._held_out_present = present, held_out_present
        self._objects_at_once = max(1, batch // images.shape[1])
        self._key = _key(autoencoder, data_key, variants, self._objects_at_once)
        objects = len(held_out) + len(variants) * len(images)
        # Held-out objects first, then the training objects of each variant: [M + K N, V, D].
        self._latents = torch.empty(objects, images.shape[1], autoencoder.config.latent_dim)
        self._done = self._read()

    def plain(self, watch: Watcher, interrupt: Interrupt) -> Tensor:
        """Latents float32 [N, V, D] of the unaltered training objects.

        Raises:
            Stopped: If interrupted; what is finished is kept in the file.
        """
        end = len(self._held_out) + len(self._images)
        self._encode(end, watch, interrupt)
        return self._latents[len(self._held_out) : end]

    def all(self, watch: Watcher, interrupt: Interrupt) -> tuple[Tensor, Tensor]:
        """Latents float32 [K, N, V, D] of all variants of the training objects, and [M, V, D] of held-out ones.

        Raises:
            Stopped: If interrupted; what is finished is kept in the file.
        """
        self._encode(len(self._latents), watch, interrupt)
        held_out, training = self._latents.split([len(self._held_out), len(self._variants) * len(self._images)])
        return training.unflatten(0, (len(self._variants), len(self._images))), held_out

    def _encode(self, end: int, watch: Watcher, interrupt: Interrupt) -> None:
        """Have the first ``end`` rows."""
        if self._done >= end:
            return
        before = self._done
        # Objects as people count them, whose copies are encoded too.
        objects = min(end, len(self._held_out) + len(self._images))
        show = watch("encoding", objects, "objects", before * objects // end)
        try:
            for start, images, present, variant in self._batches():
                if start < self._done:
                    continue
                if start >= end:
                    break
                if interrupt.requested:
                    raise Stopped
                rows = encode_views(self._autoencoder, variant.of(images), variant.views(present), self._device)
                self._latents[start : start + len(rows)] = rows
                self._done = start + len(rows)
                show(self._done * objects // end)
        finally:
            if self._done > before:
                self._write()

    def _batches(self) -> Iterator[tuple[int, Tensor, Tensor, Variant]]:
        """First row, images [n, V, C, H, W], present views [n, V] and variant of every batch."""
        held_out = (self._held_out, self._held_out_present, self._variants[0])
        row = 0
        for objects, there, variant in (held_out, *((self._images, self._present, v) for v in self._variants)):
            parts = objects.split(self._objects_at_once), there.split(self._objects_at_once)
            for images, present in zip(*parts, strict=True):
                yield row, images, present, variant
                row += len(images)

    def _write(self) -> None:
        keep(self._path, "latents", self._latents[: self._done], self._key)

    def _read(self) -> int:
        """Rows that the file has of these latents; 0 if it is missing, damaged or of others."""
        rows = kept(self._path, "latents", self._key)
        if rows is None:
            return 0
        bounds = {start for start, *_ in self._batches()} | {len(self._latents)}
        same_kind = rows.dtype == torch.float32 and rows.shape[1:] == self._latents.shape[1:]
        if not same_kind or len(rows) not in bounds:
            return 0
        self._latents[: len(rows)] = rows
        return len(rows)


def _key(autoencoder: Autoencoder, data_key: str, variants: Sequence[Variant], batch: int) -> str:
    """Hash of everything that the latents depend on."""
    digest = hashlib.sha256()
    for name, tensor in autoencoder.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor_bytes(tensor))
    alterations = [[*variant.channels, variant.mirrored] for variant in variants]
    digest.update(json.dumps([data_key, alterations, batch]).encode())
    return digest.hexdigest()
