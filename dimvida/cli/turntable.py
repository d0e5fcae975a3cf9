"""``dimvida turntable``: views all around one object, as an animation and a strip."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dimvida.cli import options
from dimvida.cli.options import DATA, OUTPUT, option, parse_angles, parse_names, require_elevation, resolve_device
from dimvida.cli.terminal import note
from dimvida.data.names import counted
from dimvida.errors import InputError
from dimvida.files import require_writable_file

if TYPE_CHECKING:
    from torch import Tensor

    from dimvida.data.cameras import Camera

LONGEST = 600.0
"""Seconds of a turn: a GIF holds a frame's time, so that of a turn of one view, in 16 bits of hundredths."""


def turntable(
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE", help="Known views of one object.")],
    out: Annotated[
        Path, option(OUTPUT, ".gif or .webp; a strip is beside, NAME-strip.png.", "--out", metavar="FILE")
    ] = Path("turntable.gif"),
    views: Annotated[int, option(DATA, "How many, evenly around.", "--views", min=1, metavar="N")] = 24,
    azimuth: Annotated[
        str | None, option(DATA, "Where each image was taken, as 0,-90; default: 0.", metavar="LIST")
    ] = None,
    view: Annotated[str | None, option(DATA, "Or the views of the model that they are.", metavar="NAMES")] = None,
    elevation: Annotated[float | None, option(DATA, "Of the turn; default: the first image's.", metavar="DEG")] = None,
    seconds: Annotated[float, option(OUTPUT, "Of one turn.", min=0.1, max=LONGEST, metavar="S")] = 3.0,
    checkpoint: options.Checkpoint = "bundled",
    steps: options.Steps = None,
    solver: options.Solver = None,
    seed: options.NoiseSeed = 0,
    backend: options.Backend = "auto",
    dtype: options.DType = "auto",
    device: options.Device = "auto",
) -> None:
    """Make views all around one object, from one image of it or several.

    The checkpoint must be conditioned on cameras. A negative azimuth is
    further to the viewer's right; 90:10 is azimuth 90 at elevation 10.
    """
    from dimvida.data.cameras import Camera
    from dimvida.data.contact_sheet import save_contact_sheet
    from dimvida.generation.cameras import model_cameras, untrained_note
    from dimvida.generation.settings import resolve_settings
    from dimvida.generation.turntable import ANIMATIONS, draw_strip, read_known, write_animation
    from dimvida.sampling.cameras import LARGEST_TURN, turn
    from dimvida.sampling.multiview import load

    beside = out.with_name(f"{out.stem}-strip.png")
    if out.suffix.lower() not in ANIMATIONS:
        raise InputError(f"--out {out}: name a file that ends in {' or '.join(ANIMATIONS)}")
    for place in (out, beside):
        require_writable_file("--out", place)
        if any(place.resolve() == image.resolve() for image in images):
            raise InputError(f"--out {out}: {place} is one of the images; choose another name")
    if beside.exists() and not out.exists():  # else both are of an earlier turn, which is made again
        raise InputError(f"--out {out}: {beside}, where its strip goes, is there already; choose another name")
    require_elevation(f"--elevation {elevation}", elevation)
    if views > LARGEST_TURN:
        raise InputError(f"--views {views}: a turn has at most {LARGEST_TURN}")
    if view is not None and azimuth is not None:
        raise InputError("give --view or --azimuth, not both")
    model = load(checkpoint, resolve_device(device))
    known, notes = read_known(images, model)
    trained = model_cameras(model)
    settings = resolve_settings(model, steps=steps, solver=solver, seed=seed, backend=backend, dtype=dtype)
    known_at = _placed(images, view, azimuth, trained)
    asked, mask, cameras, order = turn(known, known_at, views, elevation)
    far = untrained_note([Camera(*camera) for camera in cameras[order].tolist()], model.trained_cameras)
    for line in (*notes, *filter(None, (far,))):
        note(line)
    made = model.generate(asked, mask, cameras=cameras, **settings.sampling)[0, order]
    given = [place if place < len(known) else None for place in order]
    from_ = " + ".join(image.name for image in images)
    how = f"{settings.solver}, {settings.steps} steps, seed {settings.seed}"
    header = f"{counted(views, 'view')} around {from_} ({how})"
    strip = draw_strip(known, made, given, (cameras[order, 0] % 360).tolist(), header)
    write_animation(out, made, seconds)
    save_contact_sheet(strip, beside)
    print(f"{counted(views, 'view')} from {counted(len(images), 'image')}: {out}, {beside}")


def _placed(images: list[Path], view: str | None, azimuth: str | None, trained: Mapping[str, Camera]) -> Tensor:
    """Cameras of the images, float32 [k, 2].

    Raises:
        InputError: Not one for each, or the model has no such view.
    """
    from dimvida.generation.cameras import place
    from dimvida.sampling.cameras import camera_tensor, steps_of

    if view is not None:
        names = parse_names("--view", view)
        unknown = [name for name in names if name not in trained]
        if unknown:
            raise InputError(f"--view {unknown[0]}: the checkpoint has no such view; it has {', '.join(trained)}")
        cameras = [trained[name] for name in names]
    else:
        cameras = place(parse_angles("--azimuth", "0" if azimuth is None else azimuth), trained)
    if len(cameras) != len(images):
        option = f"--azimuth {azimuth or '0 (the default)'}" if view is None else f"--view {view}"
        raise InputError(f"{option}: give one for each of {counted(len(images), 'image')}")
    at = camera_tensor([(camera.azimuth, camera.elevation) for camera in cameras])
    if len(steps_of(at).unique(dim=0)) < len(at):
        raise InputError("two of the images are said to be the same view; give each its own --azimuth")
    return at
