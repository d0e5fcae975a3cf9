"""What the commands do that render views."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dimvida._version import __version__
from dimvida.cli.options import parse_floats
from dimvida.cli.progress import ProgressBar
from dimvida.data.render import Light, RenderSettings
from dimvida.data.render_jobs import MakeMesh, Rendered, render_items
from dimvida.data.write import MultiViewWriter, check_key
from dimvida.errors import InputError


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
        angles = parse_floats("--azimuths", azimuths)
    elif views_count is not None:
        angles = tuple(-360.0 * k / views_count for k in range(views_count))
    direction = parse_floats("--light", light)
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


def render_to(
    output: Path,
    items: list,
    make: MakeMesh,
    settings: RenderSettings,
    workers: int,
    about: Mapping[str, Any],
) -> list[Rendered]:
    """Render and write all items with progress, but what an interrupted call of the same has written.

    Args:
        output: A folder or zip.
        items: What to render; each has a split, a class_name and a name.
        make: From an item to its mesh.
        settings: Views and light.
        workers: Processes; 0 for one per core.
        about: What else the objects depend on. An unfinished output that depends on other things is refused.

    Returns:
        What was not rendered, with its problem, and what was rendered with notes.
    """
    workers = workers or len(os.sched_getaffinity(0))
    for item in items:
        check_key((item.split, item.class_name, item.name))
    told = []
    about = {"version": __version__, **asdict(settings), **about}
    with MultiViewWriter(output, about) as writer, ProgressBar("render", len(items), "objects") as progress:
        missing = [item for item in items if not writer.keep(item.split, item.class_name, item.name)]
        for _ in range(len(items) - len(missing)):
            progress.advance()
        for result in render_items(missing, make, settings, workers=workers):
            if not result.problem:
                item = result.item
                writer.add(item.split, item.class_name, item.name, result.views, result.digests)
            if result.problem or result.notes:
                told.append(result)
            progress.advance()
        writer.sort((item.split, item.class_name, item.name) for item in items)
    return told
