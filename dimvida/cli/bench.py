"""``dimvida bench``: how fast, and how good at that speed."""

from __future__ import annotations

import typer

from dimvida.cli import bench_generation, bench_sampling, bench_solvers, bench_training

app = typer.Typer(
    help="Measure how fast sampling, generation and training are, and how good at that speed.", no_args_is_help=True
)
app.command("sampling")(bench_sampling.sampling)
app.command("solvers")(bench_solvers.solvers)
app.command("generation")(bench_generation.generation)
app.command("training")(bench_training.training)
