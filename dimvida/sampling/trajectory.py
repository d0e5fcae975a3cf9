"""What a trajectory needs besides its state."""

from __future__ import annotations

from dataclasses import dataclass

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
    """

    table: Tensor
    known: Tensor
    sample_ids: Tensor
    seed: Tensor
    noise: Tensor | None
    x0_clip: float
