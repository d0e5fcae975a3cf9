"""What a trajectory needs besides its state."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Trajectory:
    """Validated once and living on one device.

    Attributes:
        table: float32 [rows, 8], see ``StepTable.tensor``.
        known: bool [B, V].
        sample_ids: int64 [B].
        seed: int64 [1].
        noise: float32 [rows, B, V, D] in place of drawn noise, or None.
        x0_clip: Clamp of the data prediction; infinity for none.
        known_on_host: ``known`` on the CPU, if the caller had it there.
    """

    table: Tensor
    known: Tensor
    sample_ids: Tensor
    seed: Tensor
    noise: Tensor | None
    x0_clip: float
    known_on_host: Tensor | None = None

    def padded(self, rows: int) -> Trajectory:
        """The same for a longer batch, in whose further rows nothing is known. Of drawn noise only."""
        on_host = self.known_on_host
        return replace(
            self,
            known=padded(self.known, rows),
            sample_ids=padded(self.sample_ids, rows),
            known_on_host=on_host if on_host is None else padded(on_host, rows),
        )


def padded(tensor: Tensor, rows: int) -> Tensor:
    """The tensor with zeros behind it, or itself where it has the rows already."""
    if len(tensor) == rows:
        return tensor
    longer = tensor.new_zeros(rows, *tensor.shape[1:])
    longer[: len(tensor)] = tensor
    return longer


def upload(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor on a device; on its way to a GPU from pinned memory, since a copy of other waits for the stream."""
    if tensor.device.type == "cpu" and device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)
