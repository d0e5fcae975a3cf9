"""Options of the commands that render views."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from dimvida.cli.progress import ProgressBar
from dimvida.data.render import Light, RenderSettings
from dimvida.data.render_jobs import MakeMesh, Rendered, render_items
from dimvida.data.write import MultiViewWriter
from dimvida.errors import InputError

Azimuths = Annotated[
    str | None, typer.Option(metavar="LIST", help="Degrees; default 0,-90,-180,-270 (-90: viewer's right).")
]
ViewsCount = Annotated[int | None, typer.Option(min=1, metavar="N", help="Instead: N views evenly around.")]
ViewNames = Annotated[str | None, typer.Option(metavar="LIST", help="Names of the views.")]
Elevation = Annotated[float, typer.Option(metavar="DEG", help="Of the cameras.")]
Size = Annotated[int, typer.Option(min=1, metavar="N", help="Pixels across and down.")]
Samples = Annotated[int, typer.Option(min=1, max=16, metavar="N", help="Antialiasing: N x N rays a pixel.")]
LightDirection = Annotated[str, typer.Option(metavar="X,Y,Z", help="Right, up, back of camera.")]
Ambient = Annotated[float, typer.Option(min=0.0, max=1.0, metavar="A", help="Light on unlit sides.")]
Workers = Annotated[int, typer.Option(min=0, metavar="N", help="Processes; 0: one per core.")]


def render_settings(
    azimuths: str | None,
    views_count: int | None,
    views: str | None,
    elevation: float,
    size: int,
    samples: int,
    light: str,
    ambient: float,
) -> RenderSettings:
    """Settings from the options' text.

    Raises:
        InputError: names the option that is wrong.
    """
    if azimuths is not None and views_count is not None:
        raise InputError("give --azimuths or --views-count, not both")
    angles = (0.0, -90.0, -180.0, -270.0)
    if azimuths is not None:
        angles = _numbers("--azimuths", azimuths)
    elif views_count is not None:
        angles = tuple(-360.0 * k / views_count for k in range(views_count))
    direction = _numbers("--light", light)
    if len(direction) != 3:
        raise InputError(f"--light {light}: give three numbers, as in --light=-0.4,0.5,0.8")
    return RenderSettings(
        azimuths=angles,
        elevation=elevation,
        image_size=size,
        samples=samples,
        light=Light(direction=direction, ambient=ambient),
        names=tuple(name.strip() for name in views.split(",")) if views else (),
    )


def render_to(output: Path, items: list, make: MakeMesh, settings: RenderSettings, workers: int) -> list[Rendered]:
    """Render and write all items with progress; returns the ones that failed."""
    workers = workers or len(os.sched_getaffinity(0))
    failed = []
    with MultiViewWriter(output) as writer, ProgressBar("render", len(items), "objects") as progress:
        for result in render_items(items, make, settings, workers=workers):
            if result.problem:
                failed.append(result)
            else:
                writer.add(result.item.split, result.item.class_name, result.item.name, result.views)
            progress.advance()
    return failed


def _numbers(option: str, text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise InputError(f"{option} {text}: not numbers separated by commas") from error
