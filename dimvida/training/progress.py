"""How long work shows how far it is, whoever looks at it."""

from __future__ import annotations

from typing import Protocol


class Show(Protocol):
    """Called again and again with the units done so far and a short note."""

    def __call__(self, done: int, note: str = "") -> None: ...


class Watcher(Protocol):
    """Called when work begins: what it is, its units in all, what a unit is called, and those done before.

    ``later`` is what comes after it, in its units, as far as that is known.
    """

    def __call__(self, work: str, total: int, unit: str, done: int, later: float = 0.0) -> Show: ...


def unwatched(work: str, total: int, unit: str, done: int, later: float = 0.0) -> Show:
    """Shows nothing."""
    return lambda done, note="": None
