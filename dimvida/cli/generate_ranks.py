"""What a process of ``dimvida generate`` does differently when it is one of several."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from dimvida.generation.run import Generation


def rank_device(device: torch.device) -> torch.device:
    """The GPU of this rank of ``torchrun``, unless one was named or there is none."""
    import torch

    if device.type != "cuda" or device.index is not None or "LOCAL_RANK" not in os.environ:
        return device
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    torch.cuda.set_device(device)
    return device


@contextmanager
def stop_in_order(generation: Generation) -> Iterator[None]:
    """While entered, SIGTERM lets a rank finish the shards that it has in hand.

    The agent of torchrun sends it to all ranks when one of them died. A process alone ends at once, as any other.
    """
    if generation.job.count == 1:
        yield
        return

    def ask(number: int, frame: object) -> None:
        generation.stopping = True

    previous = signal.signal(signal.SIGTERM, ask)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
