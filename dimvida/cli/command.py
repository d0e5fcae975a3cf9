"""What every command does with its command line before it runs: old spellings, web addresses, ``~``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from typer.core import TyperCommand

from dimvida.errors import InputError

OLD_SPELLINGS = {"--input": "--data", "--output": "--out", "--budget": "--minutes"}
"""Options by the names that they once had, which go on to work where a command has no option of that name."""


class Command(TyperCommand):
    """A command of one name for one thing, which takes paths as people write them."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse as click does, after old spellings are replaced; then expand ``~`` in texts and paths.

        Raises:
            InputError: A value is a web address.
        """
        for word in args:
            value = word.partition("=")[2] if word.startswith("--") else word
            if re.match(r"[A-Za-z][\w+.-]*://", value):  # as a path it would lose a slash, and be another
                raise InputError(f"{word}: web addresses are not read; download it, and give the file or folder")
        rest = super().parse_args(ctx, self._in_new_words(args))
        for name, value in ctx.params.items():
            ctx.params[name] = _expanded(value)
        return rest

    def _in_new_words(self, args: list[str]) -> list[str]:
        options = {name for param in self.params for name in param.opts}
        end = args.index("--") if "--" in args else len(args)
        words = []
        for word in args[:end]:
            name, equals, value = word.partition("=")
            new = OLD_SPELLINGS.get(name)
            words.append(f"{new}{equals}{value}" if new in options and name not in options else word)
        return words + args[end:]


def _expanded(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return type(value)(map(_expanded, value))
    if not isinstance(value, (str, Path)) or not str(value).startswith("~"):
        return value
    try:
        return type(value)(Path(value).expanduser())
    except RuntimeError:  # nobody is called so; a file may be
        return value
