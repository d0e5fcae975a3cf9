"""What is in a source, for people: counts, image sizes, unreadable files and example rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from dimvida.data.contact_sheet import SheetRow, Tile
from dimvida.data.source import MultiViewSource
from dimvida.errors import UnreadableImage

SHEET_COLUMNS = 24


@dataclass
class SourceSummary:
    """Counts over all objects, and over those images that were decoded.

    Attributes:
        views: Objects that have each view.
        views_per_object: How many objects have 1, 2, ... views.
        classes: ``class -> split -> objects``; "" stands for unlabeled and for no split.
        image_count: Images of all objects.
        decoded: How many of them were looked at.
        sizes: Images of each size, "<width> x <height>", most frequent first.
        conversions: Images of each conversion to RGB.
        unreadable: ``(location, reason)`` of each image that cannot be read.
    """

    views: dict[str, int]
    views_per_object: dict[int, int]
    classes: dict[str, dict[str, int]]
    image_count: int
    decoded: int = 0
    sizes: dict[str, int] = field(default_factory=dict)
    conversions: dict[str, int] = field(default_factory=dict)
    unreadable: list[tuple[str, str]] = field(default_factory=list)


def summarise(
    source: MultiViewSource, sample: int | None = 256, progress: Callable[[int], object] | None = None
) -> SourceSummary:
    """Count what is there and decode ``sample`` images spread over the whole source, or all for None.

    Args:
        source: What to look at.
        sample: How many images to decode.
        progress: Called after each image with the number of images done.
    """
    summary = _count(source)
    images = [(index, view) for index, record in enumerate(source.records) for view in record.views]
    if sample is not None and sample < len(images):
        images = [images[place * len(images) // sample] for place in range(sample)]
    sizes: Counter[str] = Counter()
    conversions: Counter[str] = Counter()
    for index, view in images:
        summary.decoded += 1
        try:
            image = source.read_view(index, view)
        except UnreadableImage as error:
            summary.unreadable.append((error.location, error.reason))
        else:
            height, width = image.pixels.shape[:2]
            sizes[f"{width} x {height}"] += 1
            conversions.update([image.note] if image.note else [])
        if progress is not None:
            progress(summary.decoded)
    summary.sizes, summary.conversions = dict(sizes.most_common()), dict(conversions.most_common())
    return summary


def example_rows(source: MultiViewSource, count: int) -> list[SheetRow]:
    """Contact sheet rows of ``count`` objects spread over the classes, or of all if there are fewer."""
    views = source.view_names[:SHEET_COLUMNS]
    rows = []
    for index in _spread(source, count):
        record = source.records[index]
        kinds = {view: source.kind(index, view) for view in record.views}
        # In the output of a model the recorded views are those it was given.
        real = "given" if "generated" in kinds.values() else "true"
        tiles = [_tile(source, index, view, "generated" if kinds.get(view) == "generated" else real) for view in views]
        below = "/".join(part for part in (record.split, record.class_name) if part)
        rows.append(SheetRow(f"{record.name}\n{below}" if below else record.name, tiles))
    return rows


def _count(source: MultiViewSource) -> SourceSummary:
    views: Counter[str] = Counter({view: 0 for view in source.view_names})
    per_object: Counter[int] = Counter()
    classes: dict[str, Counter[str]] = {name: Counter() for name in source.classes}
    for record in source.records:
        views.update(record.views)
        per_object[len(record.views)] += 1
        classes.setdefault(record.class_name, Counter())[record.split] += 1
    return SourceSummary(
        dict(views), dict(sorted(per_object.items())), {k: dict(v) for k, v in classes.items()}, views.total()
    )


def _spread(source: MultiViewSource, count: int) -> list[int]:
    by_class: dict[str, list[int]] = {}
    for index, record in enumerate(source.records):
        by_class.setdefault(record.class_name, []).append(index)
    groups = [by_class[name] for name in sorted(by_class)]
    if count < len(groups):
        groups = [groups[place * len(groups) // count] for place in range(count)]
    # Each class in turn gives one more object until there are enough.
    shares = [0] * len(groups)
    left = min(count, sum(map(len, groups)))
    while left > 0:
        for place, group in enumerate(groups):
            if left > 0 and shares[place] < len(group):
                shares[place] += 1
                left -= 1
    return [
        group[(2 * pick + 1) * len(group) // (2 * share)]
        for group, share in zip(groups, shares, strict=True)
        for pick in range(share)
    ]


def _tile(source: MultiViewSource, index: int, view: str, kind: str) -> Tile:
    if view not in source.records[index].views:
        return Tile(None, view, "missing")
    try:
        return Tile(source.read_view(index, view).pixels, view, kind)
    except UnreadableImage:
        return Tile(None, view, "missing")
