"""``dimvida bench``: how fast, and how good at that speed."""

from __future__ import annotations

import typer

from dimvida.cli import bench_generation, bench_sampling, bench_solvers, bench_training
from dimvida.cli.command import Command

app = typer.Typer(
    help="Measure how fast sampling, generation and training are, and how good at that speed.", no_args_is_help=True
)
app.command("sampling", cls=Command)(bench_sampling.sampling)
app.command("solvers", cls=Command)(bench_solvers.solvers)
app.command("generation", cls=Command)(bench_generation.generation)
app.command("training", cls=Command)(bench_training.training)
