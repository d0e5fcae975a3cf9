"""The package's exceptions. The command line turns them into one line and an exit code."""

from __future__ import annotations


class DimvidaError(Exception):
    """An operation failed. The command line exits with 1."""


class InputError(DimvidaError):
    """The caller's input, option or file is unusable. The command line exits with 2.

    The message is one line that names the file or option and says what to do.
    """


class UnreadableImage(InputError):
    """One image file cannot be used; the rest of a data set may still be.

    Attributes:
        location: The file, or ``archive.zip!member``.
        reason: What is wrong with it.
    """

    def __init__(self, location: str, reason: str) -> None:
        super().__init__(f"{location}: {reason}")
        self.location = location
        self.reason = reason


class SaidElsewhere(DimvidaError):
    """Another process of the same work tells what went wrong; this one exits without a word.

    Attributes:
        code: What to exit with.
    """

    def __init__(self, code: int) -> None:
        super().__init__("another process tells what went wrong")
        self.code = code
