"""Views at angles that are asked for: what they are called, where known views were taken, and what was trained."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from dimvida.data.cameras import Camera
from dimvida.data.source import MultiViewSource
from dimvida.errors import InputError
from dimvida.sampling.cameras import camera_tensor, degrees_from, steps_of
from dimvida.sampling.multiview import MultiViewModel

Angle = tuple[float, float | None]
"""Azimuth and elevation in degrees, as a user writes them: without an elevation, that of the others."""


def model_cameras(model: MultiViewModel) -> dict[str, Camera]:
    """The cameras of a model's own views.

    Raises:
        InputError: It has none.
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


def place(angles: Iterable[Angle], elevation: float) -> list[Camera]:
    """Angles as cameras; those without an elevation have this one."""
    return [Camera(azimuth, elevation if own is None else own) for azimuth, own in angles]


def name_views(option: str, angles: Sequence[Angle], elevation: float) -> dict[str, Camera]:
    """The views at some angles, in the order of their names.

    A view is called ``azimuth045``, of the azimuth from 0 to 360 degrees: -90 is 270. Decimals follow an underscore,
    as a dot would end the key of a tar file: ``azimuth022_5``. Another elevation than that of the others is named too:
    ``azimuth045-elevation10``.

    Args:
        option: Where the angles were given, for the message.
        angles: At least one.
        elevation: Of those that have no other.

    Raises:
        InputError: An angle is there twice or out of range.
    """
    views: dict[str, Camera] = {}
    for camera in place(angles, elevation):
        name = f"azimuth{_written(camera.azimuth % 360, 3)}"
        if camera.elevation != elevation:
            name += f"-elevation{_written(camera.elevation)}"
        if name in views:
            raise InputError(f"{option}: {camera.azimuth:g} degrees are there twice (a full turn is no other angle)")
        views[name] = camera
    return {name: views[name] for name in sorted(views)}


def _written(degrees: float, digits: int = 1) -> str:
    """Degrees to the ten-thousandth, as a part of a name."""
    steps = round(abs(degrees) * 10000)
    whole, rest = divmod(steps, 10000)
    whole = whole % 360 if digits == 3 else whole  # 359.99999 rounds to a full turn
    text = f"{whole:0{digits}d}" + (f"_{rest:04d}".rstrip("0") if rest else "")
    return f"-{text}" if degrees < 0 and steps else text


def known_cameras(source: MultiViewSource, model: MultiViewModel) -> dict[str, Camera]:
    """Where the views of a data set were taken: what it says itself, or where the model has the views of these names.

    Views of which neither says anything are left out.
    """
    if source.cameras is not None:
        return dict(source.cameras)
    own = model_cameras(model)
    return {view: own[view] for view in source.view_names if view in own}


def same_camera(left: Camera, right: Camera) -> bool:
    """Whether two cameras are the same, to the ten-thousandth of a degree."""
    steps = steps_of(camera_tensor([(camera.azimuth, camera.elevation) for camera in (left, right)]))
    return bool((steps[0] == steps[1]).all())


def untrained_note(cameras: Iterable[Camera], trained: Mapping[str, Camera]) -> str | None:
    """One line that says which angles are outside of what a model was trained on; None where none are."""
    asked = list(cameras)
    apart = degrees_from(
        [(c.azimuth, c.elevation) for c in asked], [(c.azimuth, c.elevation) for c in trained.values()]
    )
    others = [(degrees, camera) for degrees, camera in zip(apart.tolist(), asked, strict=True) if degrees >= 0.05]
    if not others:
        return None
    degrees, camera = max(others, key=lambda other: other[0])
    return (
        f"{len(others)} of {len(asked)} angles were not among the {len(trained)} of training; the farthest, azimuth "
        f"{camera.azimuth:g} at elevation {camera.elevation:g}, is {degrees:.1f} degrees from the nearest of them"
    )
