"""``dimvida data``: look at, split and make multi-view data."""

from __future__ import annotations

import json
import textwrap
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from dimvida.cli import data_render, options
from dimvida.cli.options import require_readable
from dimvida.cli.progress import ProgressBar
from dimvida.cli.terminal import WIDTH, console, new_table, note, printable
from dimvida.errors import InputError, UnreadableImage

if TYPE_CHECKING:
    from dimvida.data.partitions import Partitions
    from dimvida.data.source import MultiViewSource

app = typer.Typer(help="Look at, split and make multi-view data.", no_args_is_help=True)

SAMPLE = 256  # images that inspect decodes without --check
FILES_SHOWN = 10  # unreadable files; --print-json has all

DataSet = Annotated[Path, typer.Argument(metavar="PATH", help="Folder or zip file: multi-view, single-view or NMR.")]


@app.command()
def inspect(
    path: DataSet,
    split: options.Split = None,
    view: options.SingleView = None,
    column: options.Column = None,
    nmr_views: options.NmrViews = None,
    sheet: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Contact sheet; NAME-sheet.png by default, beside the data.")
    ] = None,
    rows: Annotated[int, typer.Option(metavar="N", min=0, max=200, help="Objects on the sheet; 0 for no sheet.")] = 8,
    check: Annotated[bool, typer.Option("--check", help="Decode every image, not only a sample.")] = False,
    as_json: options.PrintJson = False,
) -> int:
    """Print what a data set holds and draw a contact sheet.

    Exit code 1 if an image that was looked at cannot be read, or one was left out.
    """
    from dimvida.data.columns import parse_columns
    from dimvida.data.contact_sheet import draw_contact_sheet, save_contact_sheet
    from dimvida.data.nmr_arrays import parse_nmr_views
    from dimvida.data.opening import open_source
    from dimvida.data.sample import locate, require_apart
    from dimvida.data.sheets import example_rows

    if sheet is not None:
        require_apart(locate(path), sheet, "--sheet")
    chosen = {"columns": parse_columns(column), "nmr_views": parse_nmr_views(nmr_views)}
    source = open_source(path, split=split, view=view, **chosen)
    given, path = path, Path(source.path)  # which differ for the sample, whose folder has another name
    if check:
        total = sum(len(record.views) for record in source.records)
        with ProgressBar("checking", total, "images") as bar:
            summary = summarise(source, None, bar.update)
    else:
        summary = summarise(source, SAMPLE)
    if rows:
        if sheet is None:
            sheet = Path(f"{given.stem if path.is_file() else given.resolve().name}-sheet.png")
            if path.is_dir() and sheet.resolve().is_relative_to(path.resolve()):
                sheet = path.resolve().parent / sheet  # in the data, it would be one of their images the next time
        header = f"{given.resolve().name}: {len(source)} objects, {len(source.view_names)} views"
        save_contact_sheet(draw_contact_sheet(example_rows(source, rows), header=header), sheet)
    else:
        sheet = None
    if as_json:
        print(json.dumps(_as_dict(source, summary, sheet), indent=2, ensure_ascii=False))
    else:
        _print_summary(source, summary, sheet)
    return 1 if summary.unreadable or source.left_out else 0


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
        source: The data set that is described.
        sample: Number of images to decode; None for all.
        progress: Called after each image with the number of images done.
    """
    from dimvida.data.source import spread

    summary = _count(source)
    images = [(index, view) for index, record in enumerate(source.records) for view in record.views]
    if sample is not None:
        images = spread(images, sample)
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


def _as_dict(source: MultiViewSource, summary: SourceSummary, sheet: Path | None) -> dict[str, object]:
    return {
        "path": str(source.path),
        "form": source.form,
        "objects": len(source),
        "views": summary.views,
        "views_per_object": summary.views_per_object,
        "classes": summary.classes,
        "splits": list(source.splits),
        "cameras": source.cameras and {view: asdict(camera) for view, camera in source.cameras.items()},
        "images": summary.image_count,
        "decoded": summary.decoded,
        "sizes": summary.sizes,
        "conversions": summary.conversions,
        "unreadable": [{"location": location, "reason": reason} for location, reason in summary.unreadable],
        "notes": list(source.notes),
        "left_out": [{"location": file.location, "reason": file.reason} for file in source.left_out],
        "sheet": None if sheet is None else str(sheet),
    }


def _print_summary(source: MultiViewSource, summary: SourceSummary, sheet: Path | None) -> None:
    print(source.path)
    looked_at = f"{summary.decoded} of {summary.image_count} looked at"
    if summary.decoded == summary.image_count:
        looked_at = f"all {summary.image_count} looked at"
    _field("form", source.form)
    _field("objects", f"{len(source)}")
    _field("views", ", ".join(f"{view} {count}" for view, count in summary.views.items()))
    if len(summary.views_per_object) > 1:
        _field("", ", ".join(f"{n} objects with {v}" for v, n in summary.views_per_object.items()) + " views")
    if source.cameras:
        angles = (f"{view} {camera.azimuth:g}/{camera.elevation:g}" for view, camera in source.cameras.items())
        _field("cameras", f"{', '.join(angles)} (azimuth/elevation)")
    _field("images", f"{_counts(summary.sizes) or 'none could be read'} ({looked_at})")
    if summary.conversions:
        _field("converted", _counts(summary.conversions))
    for text in source.notes:
        _field("note", text)
    if source.classes:
        _print_classes(source, summary)
    _print_unreadable(summary)
    if sheet is not None:
        print(f"contact sheet: {sheet}")


def _field(name: str, text: str) -> None:
    indent = " " * 13
    print(textwrap.fill(text, WIDTH, initial_indent=f"  {name:<11}", subsequent_indent=indent))


def _counts(counts: dict[str, int]) -> str:
    if len(counts) == 1:
        return next(iter(counts))
    shown = [f"{name}: {count}" for name, count in list(counts.items())[:6]]
    return ", ".join(shown) + (f", {len(counts) - 6} others" if len(counts) > 6 else "")


def _print_classes(source: MultiViewSource, summary: SourceSummary) -> None:
    splits = source.splits
    table = new_table("class", show_footer=len(summary.classes) > 1)
    table.columns[0].footer = f"{len(summary.classes)} classes"
    for split in splits:
        table.add_column(
            escape(printable(split)),
            justify="right",
            footer=str(sum(counts.get(split, 0) for counts in summary.classes.values())),
        )
    if len(splits) != 1:
        table.add_column("objects", justify="right", footer=str(len(source)))
    for name, counts in summary.classes.items():
        cells = [str(counts.get(split, 0)) for split in splits]
        total = [str(sum(counts.values()))] if len(splits) != 1 else []
        table.add_row(escape(printable(name) or "(unlabeled)"), *cells, *total)
    console().print(table)


def _print_unreadable(summary: SourceSummary) -> None:
    if not summary.unreadable:
        hint = "" if summary.decoded == summary.image_count else "; --check looks at every image"
        print(f"unreadable: none of {summary.decoded}{hint}")
        return
    print(f"unreadable: {len(summary.unreadable)} of {summary.decoded}")
    for location, reason in summary.unreadable[:FILES_SHOWN]:
        print(f"  {location}: {reason}")
    if len(summary.unreadable) > FILES_SHOWN:
        print(f"  and {len(summary.unreadable) - FILES_SHOWN} more; --print-json lists all")


@app.command()
def partition(
    path: DataSet,
    out: Annotated[Path, typer.Option(metavar="FILE", help="Partition file to write (JSON).")],
    fractions: Annotated[str, typer.Option(metavar="LIST", help="Fractions of d, c and e.")] = "0.6,0.2,0.2",
    seed: options.Seed = 0,
    split: options.Split = None,
    view: options.SingleView = None,
    column: options.Column = None,
    overwrite: options.Overwrite = False,
    skip_bad: options.SkipBad = False,
) -> int:
    """Divide the objects into d (generator), c (classifiers) and e (evaluation).

    The parts are disjoint, every class is divided by the same fractions, and the same
    data and seed give the same file.
    """
    from dimvida.data.columns import parse_columns
    from dimvida.data.opening import open_source
    from dimvida.data.partitions import make_partitions, save_partitions

    if out.exists() and not overwrite:
        raise InputError(f"--out {out}: exists; choose another name or give --overwrite")
    source = open_source(path, split=split, view=view, columns=parse_columns(column))
    parts = make_partitions(source.records, options.parse_floats("--fractions", fractions), seed, path.resolve().name)
    save_partitions(parts, out)
    _print_parts(source, parts)
    for text in source.notes:
        note(text)
    print(f"partitions: {out}")
    if not skip_bad:
        require_readable(source.left_out)
    return 0


def _print_parts(source: MultiViewSource, partitions: Partitions) -> None:
    from dimvida.data.partitions import PARTS

    class_of = {record.id: record.class_name for record in source.records}
    counts = {part: Counter(class_of[identity] for identity in partitions.part(part)) for part in PARTS}
    table = new_table("class", show_footer=True)
    table.columns[0].footer = "all"
    for part in PARTS:
        table.add_column(part, justify="right", footer=str(counts[part].total()))
    for name in sorted(set(class_of.values())):
        table.add_row(escape(printable(name) or "(unlabeled)"), *(str(counts[part][name]) for part in PARTS))
    console().print(table)


app.command("render")(data_render.render)
app.command("shapes")(data_render.shapes)
