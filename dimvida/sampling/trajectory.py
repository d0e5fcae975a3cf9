"""A trajectory: what it needs besides its state, whether that fits together, and the noise that it starts from.

Noise belongs to a sample, not to its place in a batch: every normal number is a pure function of (seed, sample id,
draw, element), see ``dimvida.ops.philox_normal_``. The same seed therefore gives the same noise for any batch size,
order, number of processes and device.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from dimvida import ops
from dimvida.models.score_network import MultiTimeNetwork

FEW_ROWS = 16
"""Batches of up to as many rows are never padded."""


@dataclass(frozen=True, slots=True)
class Trajectory:
    """Validated once and living on one device.

    Attributes:
        table: float32 [rows, 8], see ``StepTable.tensor``.
        known: bool [B, V].
        sample_ids: int64 [B], or [B, V] where each view has an id of its own.
        seed: int64 [1].
        noise: float32 [rows, B, V, D] in place of drawn noise, or None.
        x0_clip: Clamp of the data prediction; infinity for none.
        known_on_host: ``known`` on the CPU, if the caller had it there.
        views: Which views they are, as ``sample`` takes them; None for the named ones.
    """

    table: Tensor
    known: Tensor
    sample_ids: Tensor
    seed: Tensor
    noise: Tensor | None
    x0_clip: float
    known_on_host: Tensor | None = None
    views: Tensor | None = None

    def padded(self, rows: int) -> Trajectory:
        """A copy for a longer batch, whose further rows know the views of the last; its noise must be drawn."""
        on_host, views = self.known_on_host, self.views
        if views is not None and views.ndim > (2 if views.is_floating_point() else 1):  # of each row its own
            views = padded(views, rows)
        return replace(
            self,
            views=views,
            known=repeated(self.known, rows),
            sample_ids=padded(self.sample_ids, rows),
            known_on_host=on_host if on_host is None else repeated(on_host, rows),
        )


def padded(tensor: Tensor, rows: int) -> Tensor:
    """The tensor with zeros behind it, or itself where it has the rows already."""
    if len(tensor) == rows:
        return tensor
    longer = tensor.new_zeros(rows, *tensor.shape[1:])
    longer[: len(tensor)] = tensor
    return longer


def repeated(tensor: Tensor, rows: int) -> Tensor:
    """The tensor with its last row behind it, as often as it takes."""
    return torch.cat([tensor, tensor[-1:].expand(rows - len(tensor), *tensor.shape[1:])])


def fixed_rows(rows: int) -> int:
    """The rows that a batch is padded to: at most an eighth more than it has, none for small ones and powers of two.

    A graph is captured for fixed shapes: a row more or less must not mean another graph. And what a batch is brought to
    depends on its own shape alone, so that its samples do not depend on what came before it.
    """
    if rows <= FEW_ROWS:
        return rows
    step = 1 << (rows.bit_length() - 4)
    return -(-rows // step) * step


def sample_id(source_id: str, draw: int = 0) -> int:
    """A 64-bit hash of a source's id and the number of the draw.

    Args:
        source_id: Id of the object within its data set.
        draw: Which of several samples of the same object, from 0.

    Returns:
        A signed 64-bit integer, as torch stores it.
    """
    digest = hashlib.blake2b(f"{source_id}\0{draw}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)


def sample_id_tensor(source_ids: Iterable[str], draw: int = 0) -> Tensor:
    """``sample_id`` of several sources: int64 [B], on the CPU."""
    return torch.tensor([sample_id(source, draw) for source in source_ids], dtype=torch.int64, device="cpu")


def as_drawn(tensor: Tensor, sample_ids: Tensor) -> Tensor:
    """A tensor [B, V, ...] as what draws noise by sample id takes it, in the same memory.

    Where each view has an id of its own, int64 [B, V], each view is a sample of its own: [B V, 1, ...].
    """
    return tensor if sample_ids.ndim == 1 else tensor.flatten(0, 1).unsqueeze(1)


def start_from_noise(latents: Tensor, known: Tensor, sample_ids: Tensor, seed: Tensor) -> Tensor:
    """The state at t = 1: N(0, I) in the missing views (draw 0), the given latents in the known ones.

    Args:
        latents: float32 [B, V, D]; entries of missing views are ignored.
        known: bool [B, V].
        sample_ids: int64 [B], or [B, V] where each view has an id of its own.
        seed: int64 [1].

    Returns:
        A new float32 [B, V, D].
    """
    noise = torch.empty_like(latents, memory_format=torch.contiguous_format)
    ops.philox_normal_(as_drawn(noise, sample_ids), sample_ids.flatten(), seed, 0)
    return torch.where(known[..., None], latents, noise)


class Conditioning:
    """What the evaluations of a trajectory read besides the state: attributes that are tensors, and what is fixed."""

    def later(self) -> Conditioning:
        """What the evaluations after the first one read."""
        return self

    def tensors(self) -> list[Tensor]:
        """The attributes that are tensors: all that differs from one batch to the next."""
        return [value for value in vars(self).values() if isinstance(value, Tensor)]

    def copy(self) -> Conditioning:
        """A copy whose tensors lie in memory of their own."""
        other = copy.copy(self)
        vars(other).update({name: value.clone() for name, value in vars(self).items() if isinstance(value, Tensor)})
        return other


def require_tensors(**tensors: Tensor | None) -> None:
    """Raise ValueError for what is no tensor, and may not be left out."""
    for name, tensor in tensors.items():
        optional = name in ("sample_ids", "noise", "views") and tensor is None
        if not optional and not isinstance(tensor, Tensor):
            raise ValueError(f"{name} must be a tensor, not {type(tensor).__name__}")


def require_fitting(
    network: object,
    latents: Tensor,
    known: Tensor,
    sample_ids: Tensor | None,
    noise: Tensor | None,
    rows: int,
    which: Tensor | None,
) -> Tensor:
    """Look at the arguments of ``sample`` once.

    Args:
        network, latents, known, sample_ids, noise: The arguments of ``sample`` by these names.
        rows: Rows of the step table.
        which: ``views`` of ``sample``.

    Returns:
        The sample ids, by default 0 .. B-1.

    Raises:
        ValueError: A shape, dtype or device does not fit.
    """
    if latents.ndim != 3 or not latents.is_floating_point():
        raise ValueError(f"latents must be float [B, V, D], not {latents.dtype} {list(latents.shape)}")
    batch, views, size = latents.shape
    if isinstance(network, MultiTimeNetwork):
        count = network.views if which is None else views
        if (views, size) != (count, network.latent_dim):
            wanted = f"[B, {count}, {network.latent_dim}]"
            raise ValueError(f"the network takes latents {wanted}, not {list(latents.shape)}")
        place = next(network.parameters()).device
        if place != latents.device:
            raise ValueError(f"the network is on {place}, the latents are on {latents.device}")
    if which is not None:
        _require_views(network, which, batch, views)
    if known.dtype != torch.bool or known.shape != (batch, views):
        raise ValueError(f"known must be bool [{batch}, {views}], not {known.dtype} {list(known.shape)}")
    if noise is not None and (noise.shape != (rows, *latents.shape) or not noise.is_floating_point()):
        raise ValueError(
            f"noise must be float [{rows}, {batch}, {views}, {size}], not {noise.dtype} {list(noise.shape)}"
        )
    if sample_ids is None:
        sample_ids = torch.arange(batch, device=latents.device)
    shapes = [[batch]] if which is None else [[batch], [batch, views]]
    if sample_ids.dtype != torch.int64 or list(sample_ids.shape) not in shapes:
        wanted = " or ".join(map(str, shapes))
        raise ValueError(f"sample_ids must be int64 {wanted}, not {sample_ids.dtype} {list(sample_ids.shape)}")
    return sample_ids


def _require_views(network: object, which: Tensor, batch: int, views: int) -> None:
    """Raise ValueError unless they say which views a network is to compute."""
    ours = isinstance(network, MultiTimeNetwork)
    if ours and not network.takes_views:
        raise ValueError(f"a {type(network).__name__} always has all of its named views; views must be None")
    takes_cameras = getattr(network, "takes_cameras", True)
    shape, named = list(which.shape), which.dtype == torch.int64
    forms = {f"int64 [{views}] or [{batch}, {views}]": named and shape in ([views], [batch, views])}
    if takes_cameras:
        fitting = which.dtype == torch.float32 and shape in ([views, 2], [batch, views, 2])
        forms[f"float32 [{views}, 2] or [{batch}, {views}, 2]"] = fitting
    if not any(forms.values()):
        raise ValueError(f"views must be {', or '.join(forms)}, not {which.dtype} {shape}")
    looked_at = named and ours and which.device.type == "cpu" and which.numel()
    if looked_at and not 0 <= int(which.min()) <= int(which.max()) < network.views:
        raise ValueError(f"views must be places from 0 to {network.views - 1} among the named views")
