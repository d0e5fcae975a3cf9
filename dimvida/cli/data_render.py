"""``dimvida data render``: views of a folder of meshes."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from dimvida.cli import options
from dimvida.cli.progress import note
from dimvida.cli.view_options import render_settings, render_to
from dimvida.data.meshes import find_meshes
from dimvida.data.render import require_render_extra
from dimvida.data.render_jobs import Rendered, make_from_file
from dimvida.errors import DimvidaError, InputError


def render(
    meshes: Annotated[
        Path, typer.Argument(metavar="MESHES", help="<class>/*.{off,obj,ply,stl,glb} or <class>/<split>/*.")
    ],
    output: Annotated[Path, typer.Argument(metavar="OUTPUT", help="A new folder or .zip, or an unfinished one.")],
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
    if up not in ("auto", "y", "z"):
        raise InputError(f"--up {up}: choose auto, y or z")
    require_render_extra()
    settings = render_settings(azimuths, views_count, views, elevation, size, samples, light, ambient)
    files = find_meshes(meshes, split=split)
    make = partial(make_from_file, up=up, color_seed=color_seed)
    about = {"up": up, "color_seed": color_seed}
    told = render_to(output, files, make, settings, workers, about)
    failed = [result for result in told if result.problem]
    for result in failed:
        print(f"skipped {result.item.path}: {result.problem}", file=sys.stderr)
    for line in _notes(told):
        note(line, sys.stderr)
    done, views_each = len(files) - len(failed), len(settings.azimuths)
    print(f"{output}: {done} objects, {views_each} views each, {len(failed)} skipped")
    if failed and not skip_bad:
        raise DimvidaError(f"{len(failed)} of {len(files)} meshes could not be rendered (--skip-bad accepts that)")


def _notes(told: Sequence[Rendered]) -> list[str]:
    """One line for each kind of thing that meshes name and lack."""
    kinds: dict[str, list[str]] = {}
    for result in told:
        for remark in result.notes:
            kind, _, which = remark.partition(": ")
            kinds.setdefault(kind, []).append(f"{which} of {result.item.path}")
    return [f"{kind}: {len(found)} (first: {found[0]})" for kind, found in kinds.items()]
