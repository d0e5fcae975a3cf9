"""Copies of weights in another layout, which are made anew once the weights have changed, and what is kept with a
network."""

from __future__ import annotations

import copy
import os
import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn.modules import module as every_module

from dimvida import ops

Module = TypeVar("Module", bound=nn.Module)
Layout = TypeVar("Layout")
Made = TypeVar("Made")


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
        fused: The layout that ``lay_out`` made of the weights.
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
        told = torch.empty((), dtype=torch.bool, device="cpu", pin_memory=equal.is_cuda)
        told.copy_(equal, non_blocking=True)
        # Behind all that was queued before, as a batch that is still made: whoever waits leaves its core to others, and
        # waits for nothing that was queued since.
        compared = torch.cuda.Event(blocking=True)
        compared.record(torch.cuda.current_stream(equal.device))

        def result() -> bool:
            compared.synchronize()
            return bool(told)

        return result


class CurrentCopy(Generic[Layout]):
    """A copy of a module's weights as they are when it is used; any number of threads may.

    Args:
        lay_out: Makes the layout that something computes with out of the module, see ``WeightsCopy``.
        copied: Called with each copy that is made.
    """

    def __init__(self, lay_out: Callable[[Module], Layout], copied: Callable[[], object]) -> None:
        self._lay_out, self._copied = lay_out, copied
        self._copy: WeightsCopy[Layout] | None = None
        self._lock = threading.Lock()

    def use(self, module: Module, make: Callable[[Layout], Made]) -> Made:
        """What ``make`` makes of the layout of the present weights. A GPU meanwhile compares them with the last ones:
        if they are others, it is made again, of these."""
        last = self._copy
        if last is not None:
            unchanged = last.comparison(module)
            made = make(last.fused)
            if unchanged():
                return made
        return make(self._renewed(module, last).fused)

    def _renewed(self, module: Module, outdated: WeightsCopy[Layout] | None) -> WeightsCopy[Layout]:
        """A copy of the present weights, made here unless another thread has done so meanwhile."""
        with self._lock:
            current = self._copy
            if current is None or current is outdated or not current.comparison(module)():
                current = self._copy = WeightsCopy(module, self._lay_out)
                self._copied()
            return current


class PerNetwork(Generic[Made]):
    """What computes a network in a dtype on a device: made on first use, kept as long as the network lives, and the
    same for every thread. A cache, not a setting: it changes no result.

    Args:
        make: Makes it for a dtype. It must not hold on to the network.
    """

    def __init__(self, make: Callable[[torch.dtype], Made]) -> None:
        self._make = make
        self._begin()
        # A forked process has none of the threads that may have held a lock, and would wait for them for ever.
        os.register_at_fork(after_in_child=self._begin)

    def _begin(self) -> None:
        self._lock = threading.Lock()
        # Not given up, which a forked process cannot do with what is on a GPU: that has no context there.
        self._inherited = [getattr(self, name, None) for name in ("_kept", "_inherited")]  # of all ancestors
        self._kept: WeakKeyDictionary[nn.Module, dict[Any, Made]] = WeakKeyDictionary()

    def __len__(self) -> int:
        """Networks that it holds something for."""
        return len(self._kept)

    def of(self, network: nn.Module, dtype: torch.dtype, device: torch.device) -> Made:
        """That of a network."""
        with self._lock:
            kept = self._kept.setdefault(network, {})
            if (dtype, device) not in kept:
                kept[dtype, device] = self._make(dtype)
            return kept[dtype, device]


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
