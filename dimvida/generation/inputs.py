"""Opens what is to be completed, and says which views its images are, and where they were taken."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dimvida.data.cameras import Camera
from dimvida.data.columns import Columns
from dimvida.data.opening import open_source
from dimvida.data.sample import locate
from dimvida.data.source import MultiViewSource
from dimvida.errors import InputError
from dimvida.generation.cameras import Angle, model_cameras, name_views
from dimvida.remote import shown
from dimvida.sampling.multiview import MultiViewModel


def open_input(
    path: str | Path,
    view_names: Sequence[str],
    given: Sequence[str] | None = None,
    split: str | None = None,
    columns: Columns | None = None,
    nmr_views: Sequence[int] | None = None,
) -> MultiViewSource:
    """Open what is to be completed.

    Images that name their views themselves (by folder, metadata or suffix) keep them. If they do not, a single
    given view is the view of all images.

    Args:
        path: Folder or zip file.
        view_names: The model's views.
        given: The views that are said to be known.
        split: Only the objects of this split.
        columns: Columns of tables, where they are not called as usual.
        nmr_views: The NMR views to read, of 0 to 23; by default 0, 6, 12 and 18.

    Raises:
        InputError: The data cannot be opened; see ``open_source``.
    """
    path, problem = locate(path, to_complete=True), None
    chosen = {"split": split, "columns": columns, "nmr_views": nmr_views}
    try:
        source = open_source(path, **chosen)
        if set(source.view_names) & set(view_names):
            return source
    except InputError as error:
        problem = error
    if not given or len(given) > 1:
        if problem is not None:
            raise problem
        return source
    source = open_source(path, view=given[0], **chosen)
    if problem is not None and any(record.name in view_names for record in source.records):
        raise problem  # files called front.png and the like are views, and what is wrong with them was said
    return source


def open_placed(
    path: str | Path,
    model: MultiViewModel,
    given: Sequence[str] | None,
    at: Angle | None,
    split: str | None,
    columns: Columns | None = None,
    nmr_views: Sequence[int] | None = None,
) -> tuple[MultiViewSource, dict[str, Camera]]:
    """Open what views at any angle are made from, and say where its views were taken.

    Where they were taken a data set says itself (``cameras.json``), or views have names that the model has, too; that
    of images which name no view is ``given``, or at an angle.

    Args:
        path: Folder or zip file.
        model: A model with cameras.
        given: The views that are said to be known.
        at: Where images that name no view were taken.
        split, columns, nmr_views: Which objects, columns of tables and NMR views are read; see ``open_input``.

    Returns:
        The source, and the camera of each of its views of which something says it.

    Raises:
        InputError: As ``open_source``; or images name their views, and were placed all the same.
    """
    own = model_cameras(model)
    if at is None:
        source = open_input(path, model.view_names, given, split, columns, nmr_views)
        if source.cameras is not None:
            return source, dict(source.cameras)
        return source, {view: own[view] for view in source.view_names if view in own}
    named = name_views("--azimuth", [at], own)
    chosen = {"split": split, "columns": columns, "nmr_views": nmr_views}
    path, (name,) = locate(path, to_complete=True), named
    try:
        source, problem = open_source(path, view=name, **chosen), None
    except InputError as error:  # which would tell of a --view that nobody gave, where images name their views
        source, problem = _opened_as_named(path, error, **chosen), error
    if source is not None and source.view_names == (name,):
        return source, named
    if source is None or name in source.view_names:
        of = shown(path) if isinstance(path, str) else path
        raise InputError(
            f"--azimuth {at[0]:g}: some images of {of} name their views themselves, and others do not; have all "
            "of them name one, or none"
        ) from problem
    raise InputError(
        f"--azimuth {at[0]:g}: {source.path} names its views itself ({', '.join(source.view_names)}); choose "
        "known ones with --view, and say where they were taken in cameras.json"
    )


def _opened_as_named(path: Path | str, problem: InputError, **chosen: Any) -> MultiViewSource | None:
    """What names all its views itself; None for what names some of them.

    Raises:
        InputError: The ``problem`` that there was with a view said for all, where it is the same without.
    """
    try:
        return open_source(path, **chosen)
    except InputError as error:
        if str(error) == str(problem):
            raise
        return None
