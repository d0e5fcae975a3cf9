"""What every command does with its command line before it runs: old spellings, web addresses, ``~``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from typer.core import TyperCommand, TyperOption

from dimvida.errors import InputError

OLD_SPELLINGS = {
    "--input": "--data",
    "--output": "--out",
    "--budget": "--minutes",
    "--classifier": "--judge",
    "--coherence-classifier": "--judge",
    "--json": "--print-json",
    "--quality": "--compared",
}
"""Options by the names that they once had, which go on to work where a command has no option of that name."""


class Command(TyperCommand):
    """A command of one name for one thing, which takes paths as people write them."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse as click does, after old spellings are replaced and ``~`` is expanded.

        Raises:
            InputError: A value is a web address.
        """
        for word in args:
            value = word.partition("=")[2] if word.startswith("--") else word
            if re.match(r"[A-Za-z][\w+.-]*://", value):  # as a path it would lose a slash, and be another
                raise InputError(f"{word}: web addresses are not read; download it, and give the file or folder")
        return super().parse_args(ctx, [_expanded(word) for word in self._in_new_words(args)])

    def get_params(self, ctx: Any) -> list[Any]:
        """The options; flags show no type, as if they took a value, and there are boxes only where each is in one."""
        params = super().get_params(ctx)
        own = [param for param in self.params if isinstance(param, TyperOption)]
        divided = all(param.rich_help_panel for param in own)
        for param in params:
            if getattr(param, "is_flag", False):
                param.metavar = ""
            if isinstance(param, TyperOption) and not divided:
                param.rich_help_panel = None
            elif param not in self.params and own:  # --help, which needs no box of its own
                param.rich_help_panel = own[-1].rich_help_panel
        return params

    def get_help_option(self, ctx: Any) -> Any:
        """``--help``, which names the options of all commands too."""
        option = super().get_help_option(ctx)
        if option is not None:
            option.help = "Show this. Everywhere: -q, -V, --debug."
        return option

    def _in_new_words(self, args: list[str]) -> list[str]:
        options = {name for param in self.params for name in param.opts}
        end = args.index("--") if "--" in args else len(args)
        words = []
        for word in args[:end]:
            name, equals, value = word.partition("=")
            new = OLD_SPELLINGS.get(name)
            words.append(f"{new}{equals}{value}" if new in options and name not in options else word)
        return words + args[end:]


def _expanded(word: str) -> str:
    option, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
    if not value.startswith("~"):
        return word
    try:
        return f"{option}{equals}{Path(value).expanduser()}"
    except RuntimeError:  # nobody is called so; a file may be
        return word
