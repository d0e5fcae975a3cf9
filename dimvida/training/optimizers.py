"""What the optimiser of a stage is: Adam, or Muon for the matrices inside a network and Adam for the rest."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

OPTIMIZERS = ("adam", "muon")


def make_optimizer(name: str, network: nn.Module, lr: float) -> torch.optim.Optimizer | Optimizers:
    """The optimiser of all weights of a network.

    Muon (Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024) makes of each matrix's
    momentum the nearest matrix whose singular values are all alike, so that a step moves all directions of a layer. Its
    steps have the root mean square of Adam's (Liu et al., "Muon is scalable for LLM training", 2025), so that one
    learning rate serves both.

    Args:
        name: One of ``OPTIMIZERS``.
        network: With ``muon``, one whose blocks stand in attributes whose name ends in ``blocks``; of what is outside
            them, the first and last layers and embeddings, and of what is no matrix, Adam takes care.
        lr: Learning rate of all weights.
    """
    if name == "adam":
        return torch.optim.Adam(network.parameters(), lr=lr, fused=True)
    inside = {id(weight) for weight in _matrices_of_blocks(network)}
    others = [weight for weight in network.parameters() if id(weight) not in inside]
    matrices = [weight for weight in network.parameters() if id(weight) in inside]
    muon = torch.optim.Muon(matrices, lr=lr, weight_decay=0.0, adjust_lr_fn="match_rms_adamw")
    return Optimizers([torch.optim.Adam(others, lr=lr, fused=True), muon])


def _matrices_of_blocks(network: nn.Module) -> Iterable[Tensor]:
    for name, module in network.named_children():
        if name.endswith("blocks"):
            yield from (weight for weight in module.parameters() if weight.ndim == 2)


class Optimizers:
    """Several optimisers, each of its own weights, used as one.

    Args:
        parts: The optimisers, each of weights of its own.
    """

    def __init__(self, parts: Sequence[torch.optim.Optimizer]) -> None:
        self.parts = parts

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """Those of all parts."""
        return [group for part in self.parts for group in part.param_groups]

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of all weights."""
        for part in self.parts:
            part.zero_grad(set_to_none=set_to_none)

    def step(self) -> None:
        """One step of each."""
        for part in self.parts:
            part.step()

    def state_dict(self) -> dict[str, Any]:
        """The state of each, in their order."""
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take what ``state_dict`` gave.

        Raises:
            ValueError: If it is the state of other optimisers.
        """
        for part, values in zip(self.parts, state["parts"], strict=True):
            part.load_state_dict(values)
