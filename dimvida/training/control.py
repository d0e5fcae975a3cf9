"""Long work as seen from outside: how far it is, and how it is asked to stop between two steps."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from types import FrameType
from typing import Protocol

from dimvida.interruption import SIGNALS, stop_at_once


class Interrupted(Exception):
    """Work ended before its end because it was asked to; what it had done is kept."""


class Interrupt:
    """While entered, ctrl-C, SIGTERM and SIGHUP ask the loop to stop.

    A second ctrl-C stops at once: a command's process ends, a program of one's own gets a KeyboardInterrupt. A second
    one of the others changes nothing: batch systems send several, and the saving that the first one asked for shall
    end. What is ignored, as by ``nohup``, stays so.

    Args:
        minutes: Also ask to stop after this many minutes; 0 for no limit.
        announce: Called with the first signal as soon as it arrives, in the middle of whatever goes on.

    Attributes:
        requested: Whether to stop.
        signal: The signal that asked first, or None.
    """

    def __init__(self, minutes: float = 0.0, announce: Callable[[signal.Signals], object] | None = None) -> None:
        self.signal: signal.Signals | None = None
        self._announce = announce
        self._deadline = time.monotonic() + 60 * minutes if minutes else None
        self._previous: dict[signal.Signals, object] = {}

    @property
    def requested(self) -> bool:
        return self.signal is not None or (self._deadline is not None and time.monotonic() > self._deadline)

    def __enter__(self) -> Interrupt:
        for number in SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._previous[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.signal is None:
            self.signal = signal.Signals(number)
            if self._announce is not None:
                self._announce(self.signal)
        elif number == signal.SIGINT:
            stop_at_once()


class ShowProgress(Protocol):
    """Called again and again with the units done so far and a short note."""

    def __call__(self, done: int, note: str = "") -> None: ...


class StartProgress(Protocol):
    """Called when work begins: what it is, its units in all, what a unit is called, and those done before.

    ``later`` is what comes after it, in its units, as far as that is known.
    """

    def __call__(self, work: str, total: int, unit: str, done: int, later: float = 0.0) -> ShowProgress: ...
