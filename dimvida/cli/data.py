"""``dimvida data``: look at, split and make multi-view data."""

from __future__ import annotations

import typer

from dimvida.cli import data_inspect, data_partition, data_render, data_shapes

app = typer.Typer(help="Look at, split and make multi-view data.", no_args_is_help=True)
app.command("inspect")(data_inspect.inspect)
app.command("partition")(data_partition.partition)
app.command("render")(data_render.render)
app.command("shapes")(data_shapes.shapes)
