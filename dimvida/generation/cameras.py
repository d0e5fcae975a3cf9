"""Views at angles that are asked for: what they are called, where known views were taken, and what was trained."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from dimvida.data.cameras import Camera
from dimvida.data.names import counted
from dimvida.data.source import MultiViewSource
from dimvida.errors import InputError
from dimvida.generation.plan import GenerationPlan, plan_tasks, require_draws
from dimvida.sampling.cameras import camera_tensor, degrees_from, steps_of
from dimvida.sampling.multiview import MultiViewModel

Angle = tuple[float, float | None]
"""Azimuth and elevation in degrees, as a user writes them: without an elevation, that of the others."""


def model_cameras(model: MultiViewModel) -> dict[str, Camera]:
    """The cameras of a model's own views.

    Raises:
        InputError: The model is not conditioned on cameras.
    """
    if model.cameras is None:
        raise InputError(
            f"this checkpoint has no cameras, so it makes its views {', '.join(model.view_names)} and no others; "
            "choose one with --checkpoint that was trained on data with cameras"
        )
    return {view: Camera(*angles) for view, angles in zip(model.view_names, model.cameras, strict=True)}


def usual_elevation(cameras: Mapping[str, Camera]) -> float:
    """The elevation of a model's first view, which is that of views of which nothing else is said."""
    return next(iter(cameras.values())).elevation


def place(angles: Iterable[Angle], trained: Mapping[str, Camera]) -> list[Camera]:
    """Angles as cameras; those without an elevation have the usual one."""
    return [Camera(azimuth, usual_elevation(trained) if own is None else own) for azimuth, own in angles]


def name_views(
    option: str, angles: Sequence[Angle], trained: Mapping[str, Camera], elevation: float | None = None
) -> dict[str, Camera]:
    """The views at some angles, in the order of their names.

    A view is called ``azimuth045``, of the azimuth from 0 to 360 degrees, to four decimals: -90 is 270. Decimals follow
    an underscore, as a dot would end the key of a tar file: ``azimuth022_5``. Another elevation than that of the others
    is named too: ``azimuth045-elevation10``.

    Args:
        option: Where the angles were given, for the message.
        angles: At least one.
        trained: The cameras of the model's own views.
        elevation: Of those that say no other; by default the usual one.

    Raises:
        InputError: An angle is there twice or out of range.
    """
    elevation = usual_elevation(trained) if elevation is None else elevation
    views: dict[str, Camera] = {}
    for azimuth, own in angles:
        camera = Camera(round(azimuth % 360, 4) % 360, round(elevation if own is None else own, 4))
        name = f"azimuth{_written(camera.azimuth, 3)}"
        if camera.elevation != round(elevation, 4):
            name += f"-elevation{_written(camera.elevation)}"
        if name in views:
            raise InputError(f"{option}: {azimuth:g} degrees are there twice (a full turn is no other angle)")
        views[name] = camera
    return {name: views[name] for name in sorted(views)}


def _written(degrees: float, digits: int = 1) -> str:
    """Degrees with at most four decimals, as a part of a name."""
    whole, _, decimals = f"{abs(degrees):.4f}".rstrip("0").partition(".")
    text = whole.zfill(digits) + (f"_{decimals}" if decimals else "")
    return f"-{text}" if degrees < 0 else text


def plan_at(
    source: MultiViewSource,
    placed: Mapping[str, Camera],
    targets: Mapping[str, Camera],
    *,
    given: Sequence[str] | None = None,
    draws: int = 1,
) -> GenerationPlan:
    """A plan that generates the same views of every object, at any angles; one that is known there is not generated.

    Args:
        source: The data set that is completed.
        placed: The camera that each view of the source was taken with, by the view's name.
        targets: The views to generate, by name.
        given: The known views; an object uses those of them that it has. By default every view that it has.
        draws: Samples of each object.

    Raises:
        InputError: A view that there is not, or of which nothing says where it was taken; a target has the name of
            another view; or nothing is to be generated.
    """
    for view in given or ():
        if view not in source.view_names:
            raise InputError(f"--view {view}: {source.path} has no such view; it has {', '.join(source.view_names)}")
    for view in source.view_names if given is None else given:
        if view not in placed:
            raise InputError(
                f"{source.path}: nothing says where the view {view!r} was taken; write it into cameras.json, or choose "
                "other known views with --view"
            )
    require_draws(draws)
    source = source.packed()
    usable = [view for view in source.view_names if given is None or view in given]
    for view in usable:
        if view in targets and not same_camera(placed[view], targets[view]):
            raise InputError(f"{source.path}: its view {view!r} was taken elsewhere than that to be made; rename it")
    taken = {view: [name for name in usable if same_camera(placed[name], camera)] for view, camera in targets.items()}

    def missing(known: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(view for view, names in taken.items() if not set(names) & set(known))

    nothing = "known views were taken at all angles of --azimuths; ask for others"
    tasks, left_out = plan_tasks(source, usable, missing, nothing)
    made = {view for _, wanted in tasks.kinds for view in wanted}
    cameras = {view: placed[view] for view in usable} | {view: at for view, at in targets.items() if view in made}
    return GenerationPlan(source, tuple(cameras), tasks, draws, left_out, cameras)


def caption(view: str, camera: Camera | None) -> str:
    """What a contact sheet calls a view: by its angle if it has no other name."""
    if camera is None or not re.fullmatch(r"azimuth\d{3}.*", view):
        return view
    text = f"{camera.azimuth % 360:g}\N{DEGREE SIGN}"
    return f"{text}/{camera.elevation:g}\N{DEGREE SIGN}" if "elevation" in view else text


def known_note(plan: GenerationPlan, targets: Mapping[str, Camera]) -> str | None:
    """One line on views that were asked for and are known, so not generated; None where there are none."""
    known = sum(len(targets) - len(task.targets) for task in plan.tasks)
    return f"{counted(known, 'view')} not generated, as a known one was taken there" if known else None


def same_camera(left: Camera, right: Camera) -> bool:
    """Whether two cameras are the same, to the ten-thousandth of a degree."""
    steps = steps_of(camera_tensor([(camera.azimuth, camera.elevation) for camera in (left, right)]))
    return bool((steps[0] == steps[1]).all())


def untrained_note(
    cameras: Iterable[Camera], trained: Sequence[tuple[float, float]] | None, what: str = "angles"
) -> str | None:
    """One line that says which angles are outside of those that a model was trained on; None where none are."""
    assert trained is not None  # of a model without cameras nobody asks for angles
    asked = list(cameras)
    apart = degrees_from([(camera.azimuth, camera.elevation) for camera in asked], trained)
    others = [(degrees, camera) for degrees, camera in zip(apart.tolist(), asked, strict=True) if degrees >= 0.05]
    if not others:
        return None
    degrees, camera = max(others, key=lambda other: other[0])
    return (
        f"{len(others)} of {len(asked)} {what} were not among the {len(trained)} of training; the farthest, azimuth "
        f"{camera.azimuth:g} at elevation {camera.elevation:g}, is {degrees:.1f} degrees from the nearest of them"
    )
