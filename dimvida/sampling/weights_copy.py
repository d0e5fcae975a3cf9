"""A copy of weights in another layout, and whether the weights are still those that were copied."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules import module as every_module

from dimvida import ops

Module = TypeVar("Module", bound=nn.Module)
Layout = TypeVar("Layout")


class WeightsCopy(Generic[Layout]):
    """A copy of a module's weights in the layout that something computes with. Nobody writes it, so any number of
    threads may read it.

    Whether the module has changed is told from the bits of its weights: version counters miss what is written through
    ``.data``, under inference mode, or by an array that shares the memory. And from the settings of its layers, some of
    which the layout holds, as the epsilon of a norm.

    Args:
        module: The module to copy, with its buffers.
        lay_out: Makes the layout of the copy; it need not copy once more what keeps its form.

    Attributes:
        fused: The layout.
    """

    def __init__(self, module: Module, lay_out: Callable[[Module], Layout]) -> None:
        own = copy.deepcopy(module).requires_grad_(False)
        for parameter in own.parameters():
            parameter.grad = None
        self.fused = lay_out(own)
        # Here and not in the live weights, which another thread may be writing: what is compared is what is used.
        tensors = _tensors(own)
        self._layers = made_of(own)
        self._kinds = _kinds(tensors)
        self._kept = tensors if _on_cpu(tensors) else [_joined(tensors)]

    def comparison(self, module: nn.Module) -> Callable[[], bool]:
        """Begin to compare the module's weights with these.

        Returns:
            Waits for the result: whether every bit and every setting is the same. On a GPU the comparison is only
            queued until then.
        """
        tensors = _tensors(module)
        if _kinds(tensors) != self._kinds or made_of(module) != self._layers:
            return lambda: False
        if _on_cpu(tensors):
            same = ops.native.same_bits(tensors, self._kept)
            return lambda: same
        equal = (_joined(tensors) == self._kept[0]).all()
        # Behind all that was queued before, as a batch that is still made: whoever waits leaves its core to others.
        compared = torch.cuda.Event(blocking=True)
        compared.record(torch.cuda.current_stream(equal.device))

        def result() -> bool:
            compared.synchronize()
            return bool(equal)

        return result


def _tensors(module: nn.Module) -> list[Tensor]:
    # Detached: a weight that another thread replaces meanwhile stays in memory.
    return [tensor.detach() for tensor in (*module.parameters(), *module.buffers())]


def _kinds(tensors: list[Tensor]) -> list[tuple[torch.Size, torch.dtype, torch.device]]:
    return [(tensor.shape, tensor.dtype, tensor.device) for tensor in tensors]


def _on_cpu(tensors: list[Tensor]) -> bool:
    return all(tensor.device.type == "cpu" for tensor in tensors)


def _joined(tensors: list[Tensor]) -> Tensor:
    """The bits of all weights in one tensor of integers."""
    flat = torch.cat([tensor.reshape(-1).view(torch.uint8) for tensor in tensors])
    return flat.view(torch.int64) if len(flat) % 8 == 0 else flat


def has_only(module: nn.Module, layers: tuple[type[nn.Module], ...]) -> bool:
    """Whether all layers are of these very classes, and nothing is hooked: the function is then that of the weights."""
    if every_module._global_forward_hooks or every_module._global_forward_pre_hooks:
        return False  # by torch.nn.modules.module.register_module_forward_hook, of all modules that there are
    return all(
        type(layer) in layers and not (layer._forward_hooks or layer._forward_pre_hooks or "forward" in vars(layer))
        for layer in module.modules()
    )


def made_of(module: nn.Module) -> list[tuple[str, type, str]]:
    """Name, kind and settings of each layer: of the same kinds, others may stand in its place, or be set otherwise."""
    return [(name, type(layer), layer.extra_repr()) for name, layer in module.named_modules()]
