"""Data on the device, where it fits: a step then copies only places, not items."""

from __future__ import annotations

import torch
from torch import Tensor

LARGEST_SHARE = 0.5  # of a GPU's free memory


class Items:
    """Items of a data set, along the first dimension of a tensor on the CPU.

    Args:
        values: The items.
        device: Where they are needed.

    Attributes:
        resident: Whether the device has a copy of all of them.
    """

    def __init__(self, values: Tensor, device: torch.device) -> None:
        self.values = values
        self.resident = device.type == "cuda" and _fits(values, device)
        self._copy = values.to(device) if self.resident else None

    def __len__(self) -> int:
        return len(self.values)

    def pick(self, places: Tensor) -> Tensor:
        """What a batch holds of the items at these places, int64 [N]: the items, or where the device has them."""
        return places if self.resident else self.values[places]

    def take(self, picked: Tensor) -> Tensor:
        """The items, on the device, of what ``pick`` gave, moved there."""
        return picked if self._copy is None else self._copy[picked]


def _fits(values: Tensor, device: torch.device) -> bool:
    free, _ = torch.cuda.mem_get_info(device)
    return values.numel() * values.element_size() <= LARGEST_SHARE * free
