"""What a process of ``dimvida generate`` does differently when it is one of several."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dimvida.generation.run import Generation


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
