"""Stopping a long run between two steps, so that nothing is half done."""

from __future__ import annotations

import signal
import time
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupt:
    """While entered, ctrl-C and SIGTERM ask the loop to stop; a second one stops at once.

    Args:
        minutes: Also ask to stop after this many minutes; 0 for no limit.

    Attributes:
        requested: Whether to stop.
        by_signal: Whether a signal asked.
    """

    def __init__(self, minutes: float = 0.0) -> None:
        self.by_signal = False
        self._deadline = time.monotonic() + 60 * minutes if minutes else None
        self._previous: dict[signal.Signals, object] = {}

    @property
    def requested(self) -> bool:
        return self.by_signal or (self._deadline is not None and time.monotonic() > self._deadline)

    def __enter__(self) -> Interrupt:
        for number in SIGNALS:
            self._previous[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.by_signal:
            raise KeyboardInterrupt
        self.by_signal = True
