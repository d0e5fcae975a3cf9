"""A trajectory: what it needs besides its state, the noise that it starts from, and its steps.

Noise belongs to a sample, not to its place in a batch: every normal number is a pure function of (seed, sample id,
draw, element), see ``dimvida.ops.philox_normal_``. The same seed therefore gives the same noise for any batch size,
order, number of processes and device.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from dimvida import ops

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
        """The same for a longer batch, in whose further rows the views of the last are known. Of drawn noise only."""
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


def run_steps(
    x: Tensor,
    x0_prev: Tensor,
    index: Tensor,
    evaluates: Sequence[bool],
    given: Trajectory,
    evaluate: Callable[[int], Tensor],
    step: Callable[..., None],
    x_cast: Tensor | None = None,
) -> None:
    """Apply the rows of the step table to the state, in place. Nothing here waits for a device.

    Args:
        x, x0_prev: The state and the last data prediction, float32 [B, V, D].
        index: The row of the table, int64 [1], on the device; counted up.
        evaluates: Whether the network is asked, for each row.
        given: What else there is.
        evaluate: What the network says of x at a row, [B, V, D]; what an evaluation leaves there serves the rows after
            it that ask for none.
        step: ``dimvida.ops.masked_step_`` or its reference.
        x_cast: Takes a copy of the new x in another dtype.
    """
    ids = given.sample_ids
    model_output = x0_prev  # of rows in front of the first evaluation, which read none
    for row, asks in enumerate(evaluates):
        if asks:
            model_output = evaluate(row)
        step(
            as_drawn(x, ids),
            as_drawn(x0_prev, ids),
            as_drawn(model_output, ids),
            as_drawn(given.known, ids),
            given.table,
            index,
            ids.flatten(),
            given.seed,
            noise=None if given.noise is None else as_drawn(given.noise[row], ids),
            clip=given.x0_clip,
            x_cast=None if x_cast is None else as_drawn(x_cast, ids),
        )
        index += 1


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
