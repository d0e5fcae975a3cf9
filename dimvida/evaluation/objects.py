"""What a model is evaluated on: the objects with every view it has, and the sets of views that are given of them."""

from __future__ import annotations

import dataclasses
import itertools
import math
import random
from collections import Counter
from collections.abc import Callable, Sequence

from dimvida.data.batch import BadFile, MultiViewBatch, load_batch
from dimvida.data.cameras import angles_of
from dimvida.data.names import counted
from dimvida.data.source import MultiViewSource, spread
from dimvida.errors import InputError
from dimvida.sampling.cameras import degrees_from
from dimvida.sampling.multiview import MultiViewModel

SAME_ANGLE = 0.5  # degrees up to which a view counts as one that a model was trained on
VIEWS_RECONSTRUCTED = 256  # views, about, of which it is seen whether the model can show them

SUBSETS = 100
"""Sets of known views of one size, unless there are fewer."""

SUBSET_LIMIT = 1000
"""Sets of one size that are all given, where no sample of them is asked for."""


def load_complete(
    source: MultiViewSource,
    view_names: Sequence[str],
    image_size: int,
    *,
    channels: int = 3,
    limit: int | None = None,
    progress: Callable[[int], object] | None = None,
) -> tuple[MultiViewBatch, list[BadFile], list[str]]:
    """Read the complete objects of a source into memory.

    Args:
        source: The data set to read from.
        view_names: The views that count as complete, which are also the views of the batch, in this order.
        image_size: Edge in pixels; other sizes are resized.
        channels: 3 for RGB, 1 for gray.
        limit: Read only so many objects, spread evenly over the source.
        progress: Called with the number of objects read so far.

    Returns:
        Objects of which all views were read; the files that could not be read; what was left out and how images were
        converted, a line each.

    Raises:
        InputError: There is no complete object, or the source has views that the model does not know.
    """
    complete = complete_objects(source, view_names)
    left_out = len(source) - len(complete)
    if limit is not None:
        complete = spread(complete, limit)
    batch, bad, notes = load_batch(
        source, complete, image_size=image_size, channels=channels, view_names=view_names, progress=progress
    )
    if left_out:
        notes = [f"{counted(left_out, 'object')} left out: not every view is there ({_present(source)})", *notes]
    whole = batch.known.all(1)
    if not whole.any():
        raise InputError(f"{bad[0].location}: {bad[0].reason}; no object could be read whole")
    kept = dataclasses.replace(
        batch,
        images=batch.images[whole],
        known=batch.known[whole],
        labels=batch.labels[whole],
        ids=tuple(identity for identity, keep in zip(batch.ids, whole.tolist(), strict=True) if keep),
    )
    return kept, bad, notes


def evaluated_views(
    model: MultiViewModel, source: MultiViewSource
) -> tuple[tuple[str, ...], tuple[tuple[float, float], ...] | None]:
    """The views that a model is evaluated on, and their cameras where it is told those.

    They are its own; of a camera-conditioned model, on data with cameras, all views of the data, wherever they are seen
    from, and on data without those of its own that the data have, if these are two or more.
    """
    if model.cameras is None:
        return model.view_names, None
    if source.cameras is not None:
        return source.view_names, angles_of(source.cameras, source.view_names)
    own = dict(zip(model.view_names, model.cameras, strict=True))
    there = tuple(view for view in own if view in source.view_names)
    if len(there) == len(own) or len(there) < 2:
        return model.view_names, None
    return there, tuple(own[view] for view in there)


def view_subsets(views: int, known: int, most: int | None = None, seed: int = 0) -> list[tuple[int, ...]]:
    """Sets of ``known`` of ``views`` views, in the order of ``itertools.combinations``.

    Args:
        views: Number V of views of an object.
        known: Views of a set.
        most: Where there are more sets, so many different ones are drawn at random; None takes all of them.
        seed: Seed of the draw.

    Raises:
        InputError: There is no set with something left to generate, or there are too many and ``most`` is None.
    """
    if not 1 <= known < views:
        raise InputError(f"--known {known}: must be between 1 and {views - 1}, with {views} views")
    total = math.comb(views, known)
    if most is None and total > SUBSET_LIMIT:
        raise InputError(f"--known {known}: {total} subsets of {views} views are too many")
    if most is None or total <= most:
        return list(itertools.combinations(range(views), known))
    places = random.Random(f"subsets {seed} {views} {known}").sample(range(total), most)
    return [_combination(views, known, place) for place in sorted(places)]


def count_subsets(views: int, counts: Sequence[int], most: int | None = None) -> int:
    """How many sets of known views are given, of all the sizes in ``counts``; see ``view_subsets``.

    Raises:
        InputError: For a number of known views that does not fit.
    """
    return sum(len(view_subsets(views, count, most)) for count in counts)


def views_by_angle(model: MultiViewModel, cameras: Sequence[tuple[float, float]]) -> dict[str, list[int]]:
    """Which of some views are where a camera-conditioned model was trained on some (``trained``), and which are not.

    Kinds without views are left out.
    """
    assert model.trained_cameras is not None
    trained = (degrees_from(cameras, model.trained_cameras) <= SAME_ANGLE).tolist()
    kinds = {"trained": True, "untrained": False}
    views = {name: [view for view, known in enumerate(trained) if known == kind] for name, kind in kinds.items()}
    return {name: chosen for name, chosen in views.items() if chosen}


def unfamiliar(model: MultiViewModel, objects: MultiViewBatch, classes: Sequence[str]) -> list[str]:
    """Say in what these objects are unlike the model's training data, a line each: classes, background, looks."""
    lines, inputs = [], model.config.inputs
    unknown = [name for name in classes if model.classes and name not in model.classes]
    if unknown:
        more = f" and {len(unknown) - 3} more" if len(unknown) > 3 else ""
        lines.append(f"the model was not trained on the class {', '.join(unknown[:3])}{more}")
    if inputs is None:
        return lines
    images = objects.images.flatten(0, 1)
    foreign = int(inputs.foreign_border(images).sum())
    if foreign:
        lines.append(f"the border of {foreign} of {len(images)} views is not the background of the training images")
    some = images[:: max(1, len(images) // VIEWS_RECONSTRUCTED)]
    bad = int(inputs.badly_reconstructed(some, model.decode(model.encode(some))).sum())
    if bad:
        lines.append(f"{bad} of {len(some)} views that were looked at cannot be shown as well as training images")
    return lines


def complete_objects(source: MultiViewSource, view_names: Sequence[str], *, by_camera: bool = False) -> list[int]:
    """Places of the objects of a source that have all of some views.

    Args:
        source: The data set.
        view_names: Names of the views that an object must have.
        by_camera: Whether cameras in the data would make other views possible, which an error then says.

    Raises:
        InputError: There is none; it says which views are there.
    """
    if not len(source):
        raise InputError(f"{source.path}: there is no object")
    complete = [index for index, record in enumerate(source.records) if set(view_names) <= set(record.views)]
    if not complete:
        raise InputError(
            f"{source.path}: no object has all views of the checkpoint ({', '.join(view_names)}); of "
            f"{counted(len(source), 'object')} there are {_present(source)}"
            + ("; with a cameras.json in the data its views may be any" if by_camera and not source.cameras else "")
        )
    return complete


def _combination(views: int, known: int, place: int) -> tuple[int, ...]:
    """The combination at a place of ``itertools.combinations(range(views), known)``, without making those before."""
    chosen: list[int] = []
    for view in range(views):
        with_view = math.comb(views - view - 1, known - len(chosen) - 1) if len(chosen) < known else 0
        if place < with_view:
            chosen.append(view)
        else:
            place -= with_view
    return tuple(chosen)


def _present(source: MultiViewSource) -> str:
    """The views of a source, and how many objects have each; at most eight of them."""
    counts = Counter(view for record in source.records for view in record.views)
    shown = [f"{view} {counts[view]}" for view in source.view_names if counts[view]]
    return ", ".join(shown[:8]) + (f" and {len(shown) - 8} more views" if len(shown) > 8 else "")
