"""What a caller's torch is set to must not change what is computed here."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import ParamSpec, TypeVar

import torch

P = ParamSpec("P")
R = TypeVar("R")


@contextmanager
def plain_modes(device: torch.device) -> Iterator[None]:
    """Neither gradients nor inference mode nor autocast, whatever holds outside.

    Tensors made in inference mode could not be written outside of it, which would spoil whatever is kept between calls;
    autocast would change the dtype of products.
    """
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.no_grad())  # second, since leaving inference mode turns gradients on
        kind = device.type
        if torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind):
            stack.enter_context(torch.autocast(kind, enabled=False))
        yield


def in_plain_modes(method: Callable[P, R]) -> Callable[P, R]:
    """A method of something with a ``device`` that computes, and returns, the same whatever surrounds it."""

    @functools.wraps(method)
    def inner(*args: P.args, **kwargs: P.kwargs) -> R:
        with plain_modes(args[0].device):
            return method(*args, **kwargs)

    return inner
