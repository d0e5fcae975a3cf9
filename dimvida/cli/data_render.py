"""``dimvida data render`` and ``dimvida data shapes``: multi-view data out of meshes and of procedural objects."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dimvida._version import __version__
from dimvida.cli import options
from dimvida.cli.progress import ProgressBar
from dimvida.cli.terminal import note
from dimvida.errors import DimvidaError, InputError

if TYPE_CHECKING:
    from dimvida.data.render import RenderSettings
    from dimvida.data.render_jobs import MakeMesh, Rendered

Output = Annotated[Path, typer.Argument(metavar="OUTPUT", help="A new folder or .zip, or an unfinished one.")]


def render(
    meshes: Annotated[
        Path, typer.Argument(metavar="MESHES", help="<class>/*.{off,obj,ply,stl,glb} or <class>/<split>/*.")
    ],
    output: Output,
    azimuths: options.Azimuths = None,
    views_count: options.ViewsCount = None,
    views: options.ViewNames = None,
    elevation: options.Elevation = 30.0,
    size: options.Size = 64,
    samples: options.Samples = 3,
    light: options.Light = "-0.4,0.5,0.8",
    ambient: options.Ambient = 0.44,
    up: Annotated[str, typer.Option(metavar="AXIS", help="y, z or auto (y: obj, glb).")] = "auto",
    split: Annotated[str, typer.Option(metavar="NAME", help="Of meshes right in a class folder.")] = "train",
    color_seed: Annotated[int | None, typer.Option(metavar="S", help="A colour for each grey object.")] = None,
    workers: options.Renderers = 0,
    skip_bad: options.SkipBad = False,
) -> None:
    """Render meshes into multi-view data, <split>/<class>/<object>/<view>.png."""
    from dimvida.data.meshes import find_meshes, require_render_extra
    from dimvida.data.render_jobs import make_from_file

    if up not in ("auto", "y", "z"):
        raise InputError(f"--up {up}: choose auto, y or z")
    require_render_extra()
    settings = _render_settings(azimuths, views_count, views, elevation, size, samples, light, ambient)
    files = find_meshes(meshes, split=split)
    make = partial(make_from_file, up=up, color_seed=color_seed)
    about = {"up": up, "color_seed": color_seed}
    told = _render_to(output, files, make, settings, workers, about)
    failed = [result for result in told if result.problem]
    for result in failed:
        print(f"skipped {result.item.path}: {result.problem}", file=sys.stderr)
    for line in _notes(told):
        note(line, sys.stderr)
    done, views_each = len(files) - len(failed), len(settings.azimuths)
    print(f"{output}: {done} objects, {views_each} views each, {len(failed)} skipped")
    if failed and not skip_bad:
        raise DimvidaError(f"{len(failed)} of {len(files)} meshes could not be rendered (--skip-bad accepts that)")


def shapes(
    output: Output,
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
    from dimvida.data.meshes import require_render_extra
    from dimvida.data.shapes import CLASSES, ShapesPlan, make_from_item

    require_render_extra()
    settings = _render_settings(azimuths, views_count, views, elevation, size, samples, light, ambient)
    names = tuple(name.strip() for name in classes.split(",")) if classes else CLASSES
    items = ShapesPlan(train_per_class, test_per_class, seed, names).items()
    about = {"train_per_class": train_per_class, "test_per_class": test_per_class, "seed": seed, "classes": names}
    _render_to(output, items, make_from_item, settings, workers, about)
    print(f"{output}: {len(items)} objects of {len(names)} classes, {len(settings.azimuths)} views each")


def _render_settings(
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
        InputError: An option is wrong; it is named.
    """
    from dimvida.data.render import Light, RenderSettings

    if azimuths is not None and views_count is not None:
        raise InputError("give --azimuths or --views-count, not both")
    angles = (0.0, -90.0, -180.0, -270.0)
    if azimuths is not None:
        angles = options.parse_floats("--azimuths", azimuths)
    elif views_count is not None:
        angles = tuple(-360.0 * k / views_count for k in range(views_count))
    options.require_elevation(f"--elevation {elevation:g}", elevation)
    direction = options.parse_floats("--light", light)
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


def _render_to(
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
        settings: Cameras, image size and light of the views.
        workers: Processes; 0 for one per core.
        about: What else the objects depend on. An unfinished output that depends on other things is refused.

    Returns:
        What was not rendered, with its problem, and what was rendered with notes.
    """
    from dimvida.data.render_jobs import render_items
    from dimvida.data.write import MultiViewWriter, check_key

    workers = workers or len(os.sched_getaffinity(0))
    keys = [(item.split, item.class_name, item.name) for item in items]
    for key in keys:
        check_key(key)
    told = []
    about = {"version": __version__, **asdict(settings), **about}
    writing = MultiViewWriter(output, about, settings.cameras)
    with writing as writer, ProgressBar("render", len(items), "objects") as progress:
        missing = [item for item, key in zip(items, keys, strict=True) if not writer.keep(*key)]
        for _ in range(len(items) - len(missing)):
            progress.advance()
        for result in render_items(missing, make, settings, workers=workers):
            if not result.problem:
                item = result.item
                writer.add(item.split, item.class_name, item.name, result.views, result.digests)
            if result.problem or result.notes:
                told.append(result)
            progress.advance()
        writer.sort(keys)
    return told


def _notes(told: Sequence[Rendered]) -> list[str]:
    """One line for each kind of thing that meshes name and lack."""
    kinds: dict[str, list[str]] = {}
    for result in told:
        for remark in result.notes:
            kind, _, which = remark.partition(": ")
            kinds.setdefault(kind, []).append(f"{which} of {result.item.path}")
    return [f"{kind}: {len(found)} (first: {found[0]})" for kind, found in kinds.items()]
