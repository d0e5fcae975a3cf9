"""What a stage minimises, as the loop asks for it; and the data of an objective on a GPU, where they fit."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn

from dimvida.training.ranks import Share

LARGEST_SHARE = 0.5  # of a GPU's free memory


class Objective(Protocol):
    """One stage's data and loss."""

    name: str
    network: nn.Module
    items: int
    device: torch.device
    draws_slowly: bool  # so that worker processes should do it

    def draw(self, indices: Tensor, seed: int, step: int, rows: slice) -> dict[str, Tensor]:
        """What the loss needs, on the CPU, of some rows of a batch.

        It depends on the arguments alone. Random numbers are drawn for the whole batch and then cut, so that a row
        gets the same ones however many processes divide the batch.

        Args:
            indices: Rows of the data set that the whole batch has, int64 [N].
            seed: Base seed of the run.
            step: Counted from 0.
            rows: Which of ``indices`` this process computes.
        """
        ...

    def loss(self, share: Share, **batch: Tensor) -> Tensor:
        """Mean loss, a scalar, over the rows that were drawn; ``batch`` is on the device."""
        ...

    def validate(self, network: nn.Module) -> dict[str, float]:
        """Figures on held-out data with the given (averaged) weights; the first is ``loss``."""
        ...


class LossModule(nn.Module):
    """An objective's loss as a module, which is what DistributedDataParallel takes."""

    def __init__(self, objective: Objective) -> None:
        super().__init__()
        self.network = objective.network
        self._objective = objective

    def forward(self, share: Share, **batch: Tensor) -> Tensor:
        return self._objective.loss(share, **batch)


class CachedRows:
    """Rows of a data set, which a GPU keeps where they fit into its memory: a step then copies only their indices.

    Args:
        values: The rows, along the first dimension of a tensor on the CPU.
        device: The device that needs them.

    Attributes:
        resident: Whether the device has a copy of all of them.
    """

    def __init__(self, values: Tensor, device: torch.device) -> None:
        self.values = values
        self.resident = device.type == "cuda" and _fits(values, device)
        self._copy = values.to(device) if self.resident else None

    def __len__(self) -> int:
        return len(self.values)

    def for_batch(self, indices: Tensor) -> Tensor:
        """What a batch holds of the rows at indices int64 [N]: the rows, or the indices where the device has them."""
        return indices if self.resident else self.values[indices]

    def on_device(self, held: Tensor) -> Tensor:
        """The rows, on the device, of what ``for_batch`` gave once it was moved there."""
        return held if self._copy is None else self._copy[held]


def _fits(values: Tensor, device: torch.device) -> bool:
    free, _ = torch.cuda.mem_get_info(device)
    return values.numel() * values.element_size() <= LARGEST_SHARE * free
