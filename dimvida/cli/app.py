"""The commands of ``dimvida``: what all of them do with their command line, and what becomes of their errors."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperOption

from dimvida import interruption
from dimvida._version import __version__
from dimvida.cli import bench, classify, data, doctor, evaluate, generate, report, reproduce, terminal, train, turntable
from dimvida.errors import (
    EXIT_FAILURE,
    EXIT_INPUT,
    EXIT_INTERRUPTED,
    DimvidaError,
    FailedOnAnotherRank,
    InputError,
)
from dimvida.remote import is_url, url_of

# Options of all commands, which may stand behind the command's name too.
_ANYWHERE = ("--debug", "--quiet", "-q", "--version", "-V")

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


MAY_BE_EMPTY = ("--ray",)
"""Options whose value may be left out."""

MODEL_OPTIONS = ("--checkpoint", "--init")
"""Options that take a model on the Hub, too: ``hf://owner/name``."""

PLACE_OPTIONS = ("--out", "--output", "--verify")
"""Options of ``generate`` that take any URL."""

DATA_OPTIONS, DATA_COMMANDS = ("--data", "--input", "--truth"), ("inspect", "partition", "report")
"""Options that take data or outputs of ``generate``, which may be behind a URL, and commands whose argument does."""


class Command(TyperCommand):
    """A command of one name for one thing, which takes paths as people write them."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse as click does, after old spellings are replaced and ``~`` is expanded.

        Raises:
            InputError: A value is a web address where none is read, half of one, or in the memory of this process.
        """
        flags = [param for param in self.params if getattr(param, "is_flag", False)]
        flag_names = {name for flag in flags for name in (*flag.opts, *flag.secondary_opts)}
        for before, word in zip(["", *args], args):  # noqa: B905 - the last stands before nothing
            option, _, value = word.partition("=") if word.startswith("--") else (before, "", word)
            option = "" if option in flag_names else option  # which take no value
            if (url_of(value) or "").startswith("memory://"):
                raise InputError(f"{word}: this memory is gone when the command ends; name a folder or a bucket")
            if is_url(value) and value.endswith("://"):  # of which a path would keep even less
                raise InputError(f"{word}: names a kind of place, and none of them; give all of its address")
            if option in MODEL_OPTIONS and value.lower().startswith("hf://"):
                continue
            if option in DATA_OPTIONS or (self.name in DATA_COMMANDS and not option.startswith("-")):
                continue  # what a path loses of a URL is known again when it is opened
            if self.name == "generate" and option in (*PLACE_OPTIONS, *MAY_BE_EMPTY):
                continue
            if is_url(value):  # as a path it would lose a slash, and be another
                raise InputError(f"{word}: web addresses are not read; download it, and give the file or folder")
        return super().parse_args(ctx, [_expanded(word) for word in self._in_new_words(_with_values(args))])

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


def _with_values(args: list[str]) -> list[str]:
    """The same words, with an empty value for each option of ``MAY_BE_EMPTY`` that none follows.

    Raises:
        InputError: Such a value is given, as by a variable of a shell that is not set.
    """
    followed = [*zip(args, [*args, "-"][1:], strict=True)]
    for option in MAY_BE_EMPTY:
        if (option, "") in followed or f"{option}=" in args:
            raise InputError(f"{option}: what is given is empty; give a value, or leave it out")
    return [f"{word}=" if word in MAY_BE_EMPTY and after.startswith("-") else word for word, after in followed]


def _expanded(word: str) -> str:
    option, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
    if (url := url_of(value)) is not None:
        return f"{option}{equals}{url}"
    if not value.startswith("~"):
        return word
    try:
        return f"{option}{equals}{Path(value).expanduser()}"
    except RuntimeError:  # nobody is called so; a file may be
        return word


app = typer.Typer(
    name="dimvida",
    help="Generate the missing views of objects with a masked multi-time latent diffusion model.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(value: bool) -> None:
    if value:
        print(f"dimvida {__version__}")
        raise typer.Exit


def _be_quiet(value: bool) -> None:
    if value:
        terminal.be_quiet()


@app.callback()
def _options(
    quiet: Annotated[
        bool,
        typer.Option("--quiet", "-q", metavar="", callback=_be_quiet, help="No progress and no notes; errors stay."),
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", metavar="", help="Show the full trace of an error.")] = False,
    version: Annotated[
        bool,
        typer.Option("--version", "-V", metavar="", callback=_print_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    pass


app.command("generate")(generate.generate)
app.command("turntable")(turntable.turntable)
app.command("train")(train.train)
app.command("evaluate")(evaluate.evaluate)
app.command("classify")(classify.classify)
app.command("report")(report.report)
app.command("reproduce")(reproduce.reproduce)
app.add_typer(data.app, name="data")
app.add_typer(bench.app, name="bench")
app.command("doctor")(doctor.doctor)


def _all_commands(group: typer.Typer) -> Iterator[Any]:
    yield from group.registered_commands
    for inner in group.registered_groups:
        yield from _all_commands(inner.typer_instance)


for _command in _all_commands(app):
    _command.cls = Command


def run(arguments: list[str]) -> int:
    """Run one command line and return its exit code.

    0 done, 2 usage or bad input, 1 failure, 130 ctrl-C, 128 and its number for another signal.
    """
    arguments = _options_first(arguments)
    terminal.be_quiet(False)
    try:
        result: Any = app(arguments, standalone_mode=False, obj=arguments)  # see options.command_line
    except KeyboardInterrupt:
        return _interrupted()
    except Exception as error:
        # An interruption in the middle of a library may come out of it as whatever it makes of that.
        if interruption.first_signal() is not None or type(error).__name__ == "Abort":
            return _interrupted()
        if "--debug" in arguments:
            raise
        return _report(error)
    if result == EXIT_INTERRUPTED:  # what newer typers make of a KeyboardInterrupt, without a word
        return _interrupted()
    return result if isinstance(result, int) else 0


def _options_first(arguments: list[str]) -> list[str]:
    """The same command line, as the parser wants it: options of all commands before the command."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    common = [text for text in arguments[:end] if text in _ANYWHERE]
    return common + [text for text in arguments[:end] if text not in _ANYWHERE] + arguments[end:]


def _report(error: Exception) -> int:
    if isinstance(error, FailedOnAnotherRank):
        return error.code
    if hasattr(error, "format_message"):  # click's usage errors, whichever click typer is built on
        if type(error).__name__ == "NoArgsIsHelpError":  # the help was shown when this was made
            return EXIT_INPUT
        return _fail(error.format_message(), EXIT_INPUT)
    if isinstance(error, InputError):
        return _fail(str(error), EXIT_INPUT)
    if isinstance(error, DimvidaError):
        return _fail(str(error), EXIT_FAILURE)
    if isinstance(error, (RuntimeError, MemoryError)):
        from dimvida.sampling.memory import is_out_of_memory

        if is_out_of_memory(error):
            reason = str(error).strip().partition("\n")[0] or "the system gives no more"
            return _fail(f"not enough memory ({reason}); smaller batches, images or networks take less", EXIT_FAILURE)
    return _fail(f"{type(error).__name__}: {error} (--debug shows the trace)", EXIT_FAILURE)


def _interrupted() -> int:
    return _fail(interruption.message(), interruption.exit_code())


def _fail(message: str, code: int) -> int:
    terminal.print_error(message)
    return code
