"""The ``dimvida`` command: registers the commands and turns errors into one line and an exit code."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from dimvida._version import __version__
from dimvida.cli import bench, classify, data, doctor, evaluate, generate, report, reproduce, train
from dimvida.errors import DimvidaError, InputError, SaidElsewhere

EXIT_FAILURE = 1
EXIT_INPUT = 2
EXIT_INTERRUPTED = 130

app = typer.Typer(
    name="dimvida",
    help="Generate the missing views of objects with a masked multi-time latent diffusion model.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(value: bool) -> None:
    if value:
        print(f"dimvida {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the full trace of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


app.command("generate")(generate.generate)
app.command("train")(train.train)
app.command("evaluate")(evaluate.evaluate)
app.command("classify")(classify.classify)
app.command("report")(report.report)
app.command("reproduce")(reproduce.reproduce)
app.add_typer(data.app, name="data")
app.add_typer(bench.app, name="bench")
app.command("doctor")(doctor.doctor)


def run(arguments: list[str]) -> int:
    """Run one command line and return its exit code: 0 done, 2 usage or bad input, 1 failure, 130 ctrl-C."""
    try:
        result: Any = app(arguments, standalone_mode=False, obj=arguments)  # for results, see provenance
    except typer.Abort:
        return _fail("interrupted", EXIT_INTERRUPTED)
    except KeyboardInterrupt:
        return _fail("interrupted", EXIT_INTERRUPTED)
    except Exception as error:
        if "--debug" in arguments:
            raise
        return _report(error)
    if result == EXIT_INTERRUPTED:  # what newer typers make of a KeyboardInterrupt, without a word
        return _fail("interrupted", EXIT_INTERRUPTED)
    return result if isinstance(result, int) else 0


def main() -> None:
    """Entry point of the ``dimvida`` script."""
    sys.exit(run(sys.argv[1:]))


def _report(error: Exception) -> int:
    if isinstance(error, SaidElsewhere):
        return error.code
    if hasattr(error, "format_message"):  # click's usage errors, whichever click typer is built on
        return _fail(error.format_message(), EXIT_INPUT)
    if isinstance(error, InputError):
        return _fail(str(error), EXIT_INPUT)
    if isinstance(error, DimvidaError):
        return _fail(str(error), EXIT_FAILURE)
    return _fail(f"{type(error).__name__}: {error} (--debug shows the trace)", EXIT_FAILURE)


def _fail(message: str, code: int) -> int:
    print("error: " + " ".join(message.split()), file=sys.stderr)
    return code
