"""The commands of ``dimvida``, and the options that all of them have."""

from __future__ import annotations

from typing import Annotated

import typer

from dimvida._version import __version__
from dimvida.cli import bench, classify, data, doctor, evaluate, generate, progress, report, reproduce, train
from dimvida.cli.command import Command

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
        progress.be_quiet()


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


app.command("generate", cls=Command)(generate.generate)
app.command("train", cls=Command)(train.train)
app.command("evaluate", cls=Command)(evaluate.evaluate)
app.command("classify", cls=Command)(classify.classify)
app.command("report", cls=Command)(report.report)
app.command("reproduce", cls=Command)(reproduce.reproduce)
app.add_typer(data.app, name="data")
app.add_typer(bench.app, name="bench")
app.command("doctor", cls=Command)(doctor.doctor)
