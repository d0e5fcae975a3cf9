"""The package's exceptions. The command line turns them into one line and an exit code."""

from __future__ import annotations

import operator
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

EXIT_FAILURE = 1
EXIT_INPUT = 2
EXIT_INTERRUPTED = 130


class DimvidaError(Exception):
    """An operation failed. The command line exits with 1."""


class InputError(DimvidaError):
    """The caller's input, option or file is unusable. The command line exits with 2.

    The message is one line that names the file or option and says what to do.
    """


class Unreadable(InputError):
    """One file cannot be used; the rest of a data set may still be.

    Attributes:
        location: The file, or ``archive.zip!member``.
        reason: What is wrong with it, a few words without a full stop.
    """

    def __init__(self, location: str, reason: str) -> None:
        super().__init__(f"{location}: {reason}")
        self.location = location
        self.reason = reason


class UnreadableImage(Unreadable):
    """An image file cannot be used."""


class NotFinite(DimvidaError):
    """Sampled latents or decoded images hold NaN or infinity: nothing of them is a picture.

    Attributes:
        what: ``latents`` or ``images``.
        rows: Places in the batch of those that are not finite, in order, from 0.
    """

    def __init__(self, what: str, rows: Sequence[int]) -> None:
        named = ", ".join(map(str, rows[:8])) + (f" and {len(rows) - 8} more" if len(rows) > 8 else "")
        super().__init__(
            f"the {what} of {'row' if len(rows) == 1 else 'rows'} {named} of the batch are not finite: "
            "the weights or what they were given overflow"
        )
        self.what = what
        self.rows = tuple(rows)


class FailedOnAnotherRank(DimvidaError):
    """Another process of the same work tells what went wrong; this one exits without a word.

    Attributes:
        code: Exit code of this process, the same as the other's.
    """

    def __init__(self, code: int) -> None:
        super().__init__("another process tells what went wrong")
        self.code = code


@contextmanager
def thread_errors() -> Iterator[None]:
    """Where threads are started: what Python says of one that cannot be becomes one line.

    Raises:
        DimvidaError: The system gives no more threads.
    """
    try:
        yield
    except RuntimeError as error:  # "can't start new thread"
        raise DimvidaError(f"{error}; the system's limit of threads is reached (ulimit -u)") from error


def require_whole(name: str, value: Any, low: int, high: int, spoken: str | None = None) -> int:
    """A whole number in a range: an int, or what Python takes for one, such as numpy's, but no truth value.

    Args:
        name: What it is called in the message.
        value: What was given for it.
        low, high: Smallest and largest allowed.
        spoken: How ``high`` is written in the message.

    Raises:
        InputError: ``value`` is no whole number, or outside of the range.
    """
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or str(getattr(value, "dtype", type(value).__name__)).endswith("bool"):
        raise InputError(f"{name} must be a whole number, not {value!r}")
    if number < low:
        raise InputError(f"{name} must be at least {low}, not {number}")
    if number > high:
        raise InputError(f"{name} must be at most {spoken or high}, not {number}")
    return number


def require_choice(name: str, value: Any, choices: Collection[str]) -> None:
    """Raise InputError, which lists the choices, unless a value is one of them.

    Args:
        name: What the message calls it: an option, such as ``--format``, or a field of a configuration.
        value: What was given for it.
        choices: The values that there are.

    Raises:
        InputError: ``value`` is none of them.
    """
    if value not in choices:
        given = value if name.startswith("--") else repr(value)
        raise InputError(f"{name} {given}: choose from {', '.join(choices)}")
