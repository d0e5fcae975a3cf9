"""``dimvida data inspect``."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from dimvida.cli import options
from dimvida.cli.output import WIDTH, console, new_table
from dimvida.cli.progress import ProgressBar
from dimvida.cli.terminal import printable

if TYPE_CHECKING:
    from dimvida.data.source import MultiViewSource
    from dimvida.data.summary import SourceSummary

SAMPLE = 256
SHOWN = 10  # unreadable files; --print-json has all


def inspect(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="Folder or zip file: multi-view, single-view or NMR.")],
    split: options.Split = None,
    view: options.SingleView = None,
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
    from dimvida.data.contact_sheet import draw_contact_sheet, save_contact_sheet
    from dimvida.data.opening import open_source
    from dimvida.data.sample import locate, require_apart
    from dimvida.data.summary import example_rows, summarise

    if sheet is not None:
        require_apart(locate(path), sheet, "--sheet")
    source = open_source(path, split=split, view=view)
    given, path = path, source.path  # which differ for the sample, whose folder has another name
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
        _print(source, summary, sheet)
    return 1 if summary.unreadable or source.left_out else 0


def _as_dict(source: MultiViewSource, summary: SourceSummary, sheet: Path | None) -> dict[str, object]:
    return {
        "path": str(source.path),
        "form": source.form,
        "objects": len(source),
        "views": summary.views,
        "views_per_object": summary.views_per_object,
        "classes": summary.classes,
        "splits": list(source.splits),
        "images": summary.image_count,
        "decoded": summary.decoded,
        "sizes": summary.sizes,
        "conversions": summary.conversions,
        "unreadable": [{"location": location, "reason": reason} for location, reason in summary.unreadable],
        "notes": list(source.notes),
        "left_out": [{"location": file.location, "reason": file.reason} for file in source.left_out],
        "sheet": None if sheet is None else str(sheet),
    }


def _print(source: MultiViewSource, summary: SourceSummary, sheet: Path | None) -> None:
    print(source.path)
    looked_at = f"{summary.decoded} of {summary.image_count} looked at"
    if summary.decoded == summary.image_count:
        looked_at = f"all {summary.image_count} looked at"
    _field("form", source.form)
    _field("objects", f"{len(source)}")
    _field("views", ", ".join(f"{view} {count}" for view, count in summary.views.items()))
    if len(summary.views_per_object) > 1:
        _field("", ", ".join(f"{n} objects with {v}" for v, n in summary.views_per_object.items()) + " views")
    _field("images", f"{_counts(summary.sizes) or 'none could be read'} ({looked_at})")
    if summary.conversions:
        _field("converted", _counts(summary.conversions))
    for note in source.notes:
        _field("note", note)
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
    for location, reason in summary.unreadable[:SHOWN]:
        print(f"  {location}: {reason}")
    if len(summary.unreadable) > SHOWN:
        print(f"  and {len(summary.unreadable) - SHOWN} more; --print-json lists all")
