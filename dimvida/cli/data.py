"""``dimvida data``: look at, split and make multi-view data."""

from __future__ import annotations

import typer

from dimvida.cli import data_inspect, data_partition, data_render, data_shapes
from dimvida.cli.command import Command

app = typer.Typer(help="Look at, split and make multi-view data.", no_args_is_help=True)
app.command("inspect", cls=Command)(data_inspect.inspect)
app.command("partition", cls=Command)(data_partition.partition)
app.command("render", cls=Command)(data_render.render)
app.command("shapes", cls=Command)(data_shapes.shapes)
