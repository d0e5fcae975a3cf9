"""``dimvida data shapes``: the embedded data set of procedural objects."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dimvida.cli import options
from dimvida.cli.view_options import render_settings, render_to
from dimvida.data.render import require_render_extra
from dimvida.data.shapes import CLASSES
from dimvida.data.shapes.plan import ShapesPlan, make_from_item


def shapes(
    output: Annotated[Path, typer.Argument(metavar="OUTPUT", help="A new folder or .zip, or an unfinished one.")],
    train_per_class: Annotated[int, typer.Option(min=0, metavar="N", help="Objects of a class.")] = 400,
    test_per_class: Annotated[int, typer.Option(min=0, metavar="N", help="Objects of a class.")] = 60,
    seed: options.Seed = 0,
    classes: Annotated[str | None, typer.Option(metavar="LIST", help="Only these, such as chair,sofa.")] = None,
    azimuths: options.Azimuths = None,
    views_count: options.ViewsCount = None,
    views: options.ViewNames = None,
    elevation: options.Elevation = 30.0,
    size: options.Size = 64,
    samples: options.Samples = 3,
    light: options.Light = "-0.4,0.5,0.8",
    ambient: options.Ambient = 0.44,
    workers: options.Renderers = 0,
) -> None:
    """Make procedural objects of the 13 NMR classes; the same options give the same bytes."""
    require_render_extra()
    settings = render_settings(azimuths, views_count, views, elevation, size, samples, light, ambient)
    names = tuple(name.strip() for name in classes.split(",")) if classes else CLASSES
    items = ShapesPlan(train_per_class, test_per_class, seed, names).items()
    about = {"train_per_class": train_per_class, "test_per_class": test_per_class, "seed": seed, "classes": names}
    render_to(output, items, make_from_item, settings, workers, about)
    print(f"{output}: {len(items)} objects of {len(names)} classes, {len(settings.azimuths)} views each")
