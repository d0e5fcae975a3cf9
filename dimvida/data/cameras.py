"""Where the views of a data set are seen from: ``cameras.json``, one camera for each name of a view.

::

    {"front": {"azimuth": 0, "elevation": 30}, "right": {"azimuth": -90, "elevation": 30}}

Angles are in degrees. Azimuth 0 sees the front, and a negative azimuth moves the camera to the viewer's right, as in
``dimvida.data.render``; elevation 0 is level with the object's centre and 90 above it.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from dimvida.data.metadata import distinct
from dimvida.data.names import check_view_name, composed, counted
from dimvida.data.source import MultiViewSource
from dimvida.data.tree import FileTree
from dimvida.errors import InputError

CAMERAS_NAME = "cameras.json"
_MOST_BYTES = 2**20
MOST_DEGREES = 1_000_000
"""Largest azimuth, either way: beyond it little would be left of its decimals."""


@dataclass(frozen=True, slots=True)
class Camera:
    """Where a view is seen from.

    Attributes:
        azimuth: Degrees around the object, at most a million; a full turn more is the same camera.
        elevation: Degrees above it, from -90 to 90.

    Raises:
        InputError: An angle is not finite, or out of range.
    """

    azimuth: float
    elevation: float

    def __post_init__(self) -> None:
        if not math.isfinite(self.azimuth):
            raise InputError(f"azimuth {self.azimuth:g} is not a finite number of degrees")
        if abs(self.azimuth) > MOST_DEGREES:
            raise InputError(f"azimuth {self.azimuth:g} is more than {MOST_DEGREES:,} degrees")
        if not -90 <= self.elevation <= 90:
            raise InputError(f"elevation {self.elevation:g} is not between -90 and 90 degrees")
        for angle in ("azimuth", "elevation"):
            object.__setattr__(self, angle, getattr(self, angle) + 0)  # no -0.0, which would be printed


def place_cameras(source: MultiViewSource, tree: FileTree, others: Collection[str], prefix: str = "") -> None:
    """Have a source know the cameras that its tree tells of.

    The file may name more views than the data have, as that of a whole rig does where some of its views are used; it
    must name all that they have.

    Args:
        source: Gets ``cameras``, and a note on cameras without views and on files of them where none counts.
        tree: Where ``cameras.json`` is, if there is one.
        others: What a survey found in the tree that are no images, links to nothing among them.
        prefix: Folders around the set, with a final "/", or ""; the file is in the innermost of them that has one.

    Raises:
        InputError: The file cannot be read, is malformed, or lacks a view of the data.
    """
    parts = prefix.split("/")[:-1]
    places = ["/".join([*parts[:count], CAMERAS_NAME]) for count in range(len(parts), -1, -1)]
    astray = [name for name in others if name.rpartition("/")[2] == CAMERAS_NAME and name not in places]
    if astray:
        text = f"not read: {counted(len(astray), 'file')} {CAMERAS_NAME} not at the root (first: {astray[0]})"
        source.notes = (*source.notes, text)
    name = next((place for place in places if place in others), None)
    if name is None:
        return
    where = tree.location(name)
    cameras = parse_cameras(tree.read(name, _MOST_BYTES), where)
    lacking = [view for view in source.view_names if view not in cameras]
    if lacking:
        raise InputError(
            f"{where}: has no camera for the view {lacking[0]!r}"
            + (f" and {len(lacking) - 1} more" if len(lacking) > 1 else "")
            + f"; the data have {', '.join(source.view_names)}: name them all, or remove the file"
        )
    others = [view for view in cameras if view not in source.view_names]
    if others:
        text = f"{counted(len(others), 'camera')} of {CAMERAS_NAME} without views here (first: {others[0]})"
        source.notes = (*source.notes, text)
    _leave_out_seen_twice(source, cameras)
    source.cameras = {view: cameras[view] for view in source.view_names}


def _leave_out_seen_twice(source: MultiViewSource, cameras: Mapping[str, Camera]) -> None:
    """Keep of views at one place, as the first and the last of a closed rig are, the first that an object has.

    The second says nothing new, and a model that was given one would be asked for the other. An object with only the
    second has it by the first's name, so that all have the same views.
    """
    first: dict[tuple[float, float], str] = {}
    places = {view: _place(cameras[view]) for view in source.view_names}
    twins = {view: first.setdefault(place, view) for view, place in places.items()}
    twins = {view: other for view, other in twins.items() if view != other}
    if not twins:
        return
    order = {view: number for number, view in enumerate(source.view_names)}
    kept = []
    for record in source.records:
        by_name: dict[str, str] = {}
        for view in record.views:
            by_name.setdefault(twins.get(view, view), view)
        kept.append(dict(sorted(by_name.items(), key=lambda item: order[item[0]])))
    lost = sum(len(record.views) - len(views) for record, views in zip(source.records, kept, strict=True))
    renamed = sum(name != view for views in kept for name, view in views.items())
    view, other = next(iter(twins.items()))
    said = " and ".join(f"azimuth {cameras[name].azimuth:g}" for name in (view, other))
    of = f"(first: {view!r}, that of {other!r}: {said} at elevation {cameras[view].elevation:g})"
    notes = []
    if lost:
        text = f"{counted(lost, 'view')} left out, as another of the object is at the same place in {CAMERAS_NAME} {of}"
        notes.append(text)
    if renamed:
        text = f"{counted(renamed, 'view')} called like another at the same place in {CAMERAS_NAME} {of}"
        notes.append(text)
    source.keep_views([tuple(views.values()) for views in kept])
    source.records = tuple(
        dataclasses.replace(record, views=tuple(views)) for record, views in zip(source.records, kept, strict=True)
    )
    source.view_names = tuple(view for view in source.view_names if view not in twins)
    source.notes = (*source.notes, *notes)


def _place(camera: Camera) -> tuple[float, float]:
    """Equal for the same camera, to the ten-thousandth of a degree."""
    return round(camera.azimuth % 360, 4) % 360, round(camera.elevation, 4)


def parse_cameras(data: bytes, where: str) -> dict[str, Camera]:
    """The cameras in the bytes of a file, by view.

    Args:
        data: JSON in UTF-8.
        where: What an error calls the file.

    Raises:
        InputError: It is anything else than an object of such objects, or says something twice.
    """
    try:
        content = json.loads(data.decode("utf-8-sig"), object_pairs_hook=distinct)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: not JSON ({error}); write {_FORM}") from None
    if not isinstance(content, dict) or not content:
        raise InputError(f"{where}: not an object of cameras by view; write {_FORM}")
    cameras: dict[str, Camera] = {}
    for name, value in content.items():
        view = composed(name)
        check_view_name(view, where)
        if view in cameras:
            raise InputError(f"{where}: the view {view!r} is there twice, in two Unicode forms; remove one")
        cameras[view] = _camera(value, f"{where}: view {view!r}")
    return cameras


_FORM = '{"front": {"azimuth": 0, "elevation": 30}, ...}'


def _camera(value: Any, where: str) -> Camera:
    if not isinstance(value, dict) or set(value) != {"azimuth", "elevation"}:
        raise InputError(f'{where}: needs "azimuth" and "elevation" and nothing else, as in {_FORM}')
    angles = {}
    for name, angle in value.items():
        if type(angle) not in (int, float) or abs(angle) > MOST_DEGREES:  # exact types, as True is an int for Python
            raise InputError(f"{where}: {name} is not a number of degrees")
        angles[name] = float(angle)
    try:
        return Camera(**angles)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def cameras_text(cameras: Mapping[str, Camera]) -> str:
    """The content of ``cameras.json``: a line for each view."""
    lines = [
        f" {json.dumps(view, ensure_ascii=False)}: {json.dumps(asdict(camera))}" for view, camera in cameras.items()
    ]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def angles_of(
    cameras: Mapping[str, Camera] | None, view_names: Sequence[str]
) -> tuple[tuple[float, float], ...] | None:
    """Azimuth and elevation of each view by name; None without cameras."""
    return cameras and tuple((float(cameras[view].azimuth), float(cameras[view].elevation)) for view in view_names)
