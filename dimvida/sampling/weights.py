"""The weights that an engine samples with: a copy, its layout, and whether the network still has the same."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor

from dimvida import ops
from dimvida.models.score_network import ScoreNetwork
from dimvida.sampling.plan import plan_network


class Weights:
    """A copy of a network's weights and their layout. Nobody writes it, so any number of trajectories may read it.

    Whether the network has changed is told from the bits of its weights: version counters miss what is written through
    ``.data``, under inference mode, or by an array that shares the memory.

    Args:
        network: What to copy.
        dtype: Of the products.

    Attributes:
        plan: The layout.
    """

    def __init__(self, network: ScoreNetwork, dtype: torch.dtype) -> None:
        own = copy.deepcopy(network).requires_grad_(False)
        for parameter in own.parameters():
            parameter.grad = None
        self.plan = plan_network(own, dtype)
        # Here and not in the live weights, which another thread may be writing: what is compared is what is used.
        tensors = _tensors(own)
        self._kinds = _kinds(tensors)
        self._kept = tensors if _on_cpu(tensors) else [_joined(tensors)]

    def comparison(self, network: ScoreNetwork) -> Callable[[], bool]:
        """Begin to compare the network's weights with these.

        Returns:
            Waits for the result: whether every bit is the same. On a GPU the comparison is only queued until then.
        """
        tensors = _tensors(network)
        if _kinds(tensors) != self._kinds:
            return lambda: False
        if _on_cpu(tensors):
            same = ops.native.same_bits(tensors, self._kept)
            return lambda: same
        equal = (_joined(tensors) == self._kept[0]).all()
        return lambda: bool(equal)


def _tensors(network: ScoreNetwork) -> list[Tensor]:
    # Detached: a weight that another thread replaces meanwhile stays in memory.
    return [parameter.detach() for parameter in network.parameters()]


def _kinds(tensors: list[Tensor]) -> list[tuple[torch.Size, torch.dtype, torch.device]]:
    return [(tensor.shape, tensor.dtype, tensor.device) for tensor in tensors]


def _on_cpu(tensors: list[Tensor]) -> bool:
    return all(tensor.device.type == "cpu" for tensor in tensors)


def _joined(tensors: list[Tensor]) -> Tensor:
    """The bits of all weights in one tensor of integers."""
    flat = torch.cat([tensor.reshape(-1).view(torch.uint8) for tensor in tensors])
    return flat.view(torch.int64) if len(flat) % 8 == 0 else flat
