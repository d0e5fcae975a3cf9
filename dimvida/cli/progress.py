"""Progress of long work: a bar with rate and time left on a terminal, plain lines otherwise; and what ends it."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from dimvida.cli.terminal import is_quiet, printable

if TYPE_CHECKING:
    from dimvida.training.control import ShowProgress, StartProgress

PLAIN_INTERVAL = 10.0  # seconds between plain lines


class ProgressBar:
    """A context manager around one loop of known length; writes to standard error.

    Args:
        description: What is being done, a word or two.
        total: Number of units.
        unit: Plural name of a unit, for the rate.
        start: Units done before this process, which do not count for the rate.
        later: Work that comes after this loop, in its units, for the time left in all.
    """

    def __init__(self, description: str, total: int, unit: str, start: int = 0, later: float = 0.0) -> None:
        self.description, self.total, self.unit, self.start, self.later = description, total, unit, start, later
        self._done = start
        self._note = ""
        # Named, since while a bar is drawn the stream itself is one that goes through the console.
        self._console = Console(stderr=True, file=getattr(sys.stderr, "rich_proxied_file", None))
        self._bar: Progress | None = None
        self._began = self._last_line = 0.0

    def __enter__(self) -> ProgressBar:
        self._began = self._last_line = time.monotonic()
        # A dumb terminal shows a bar but once, at its end.
        if self._console.is_terminal and not self._console.is_dumb_terminal and not is_quiet():
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=None),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]}"),
                TimeRemainingColumn(compact=True),
                TextColumn("{task.fields[note]}"),
                console=self._console,
            )
            self._task = self._bar.add_task(self.description, total=self.total, completed=self.start, rate="", note="")
            self._bar.start()
        return self

    def update(self, done: int, note: str = "") -> None:
        """Show that ``done`` of the units are finished, with a short note behind."""
        self._done, self._note = done, note
        if self._bar is not None:
            shown = ", ".join(part for part in (note, self._in_all()) if part)
            self._bar.update(self._task, completed=done, rate=self._rate(), note=shown)
        elif time.monotonic() - self._last_line >= PLAIN_INTERVAL:
            self._print_line()

    def advance(self, units: int = 1, note: str = "") -> None:
        """Show that ``units`` more are finished."""
        self.update(self._done + units, note)

    def message(self, text: str) -> None:
        """A line of text that does not disturb the bar."""
        text = printable(text)
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False)
        elif not is_quiet():
            print(text, file=sys.stderr, flush=True)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
        else:
            self._print_line()

    def _speed(self) -> float:
        return (self._done - self.start) / max(time.monotonic() - self._began, 1e-9)

    def _rate(self) -> str:
        speed = self._speed()
        return f"{speed:.0f} {self.unit}/s" if speed >= 10 else f"{speed:.2g} {self.unit}/s"

    def _print_line(self) -> None:
        self._last_line = time.monotonic()
        if is_quiet():
            return
        speed = self._speed()
        parts = [f"{self.description}: {self._done}/{self.total} {self.unit}"]
        if speed > 0:  # else nothing is known of it
            parts += [self._rate(), f"{duration((self.total - self._done) / speed)} left", self._in_all()]
        print(", ".join(part for part in (*parts, self._note) if part), file=sys.stderr, flush=True)

    def _in_all(self) -> str:
        """The time left with what comes later, where something does."""
        speed = self._speed()
        return (
            f"about {duration((self.total - self._done + self.later) / speed)} in all" if self.later and speed else ""
        )


def watcher(bars: contextlib.ExitStack) -> StartProgress:
    """Shows one piece of work after the other as progress bars."""

    def watch(work: str, total: int, unit: str, done: int, later: float = 0.0) -> ShowProgress:
        bars.close()  # the last work's bar
        return bars.enter_context(ProgressBar(work, total, unit, done, later)).update

    return watch


def announce(number: signal.Signals) -> None:
    """Say that a signal came and what happens now."""
    came = {signal.SIGTERM: "terminated", signal.SIGHUP: "the terminal went away"}.get(number, "interrupted")
    what = f"{came}; saving the state" + (" (ctrl-C again stops at once)" if number == signal.SIGINT else "")
    # Straight to the file, as the signal may have come in the middle of a print. On a terminal the line takes the
    # bar's place, and the bar is drawn again below it. Nobody there to read it is no reason not to save.
    start = "\r\x1b[2K" if sys.stderr.isatty() else ""
    with contextlib.suppress(OSError):
        os.write(2, f"{start}{what}\n".encode())


def duration(seconds: float) -> str:
    """Seconds in the units that people use: ``40 s``, ``12 min``, ``3 h 20 min``, ``2 d 4 h``."""
    minutes, hours = round(seconds / 60), round(seconds / 3600)
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    if minutes < 100:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"
