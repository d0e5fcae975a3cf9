"""Options that are lists of names or numbers."""

from __future__ import annotations

from dimvida.errors import InputError


def parse_names(option: str, text: str | None) -> tuple[str, ...] | None:
    """``front,left`` as names; None stays None.

    Raises:
        InputError: A name is empty or comes twice.
    """
    if text is None:
        return None
    names = tuple(name.strip() for name in text.split(","))
    if not all(names):
        raise InputError(f"{option} {text!r}: give names separated by commas")
    if len(set(names)) < len(names):
        raise InputError(f"{option} {text}: a name is there twice")
    return names


def parse_numbers(option: str, text: str | None) -> tuple[int, ...] | None:
    """``1,2,3`` as whole numbers; None stays None.

    Raises:
        InputError: One of them is no whole number, or comes twice.
    """
    names = parse_names(option, text)
    try:
        return names and tuple(int(name) for name in names)
    except ValueError:
        raise InputError(f"{option} {text}: give whole numbers separated by commas") from None
