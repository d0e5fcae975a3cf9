"""``dimvida data partition``."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from dimvida.cli import options
from dimvida.cli.evaluation_data import require_readable
from dimvida.cli.output import console, new_table
from dimvida.cli.progress import note
from dimvida.cli.terminal import printable
from dimvida.errors import InputError

if TYPE_CHECKING:
    from dimvida.data.partitions import Partitions
    from dimvida.data.source import MultiViewSource


def partition(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="Folder or zip file: multi-view, single-view or NMR.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="Partition file to write (JSON).")],
    fractions: Annotated[str, typer.Option(metavar="LIST", help="Fractions of d, c and e.")] = "0.6,0.2,0.2",
    seed: options.Seed = 0,
    split: options.Split = None,
    view: options.SingleView = None,
    overwrite: options.Overwrite = False,
    skip_bad: options.SkipBad = False,
) -> int:
    """Divide the objects into d (generator), c (classifiers) and e (evaluation).

    The parts are disjoint, every class is divided by the same fractions, and the same
    data and seed give the same file.
    """
    from dimvida.data.opening import open_source
    from dimvida.data.partitions import make_partitions, save_partitions

    if out.exists() and not overwrite:
        raise InputError(f"--out {out}: exists; choose another name or give --overwrite")
    source = open_source(path, split=split, view=view)
    parts = make_partitions(source.records, _parse(fractions), seed, path.resolve().name)
    save_partitions(parts, out)
    _print_table(source, parts)
    for text in source.notes:
        note(text)
    print(f"partitions: {out}")
    if not skip_bad:
        require_readable(source.left_out)
    return 0


def _parse(fractions: str) -> list[float]:
    try:
        return [float(part) for part in fractions.split(",")]
    except ValueError:
        raise InputError(f"--fractions {fractions}: give three numbers like 0.6,0.2,0.2") from None


def _print_table(source: MultiViewSource, partitions: Partitions) -> None:
    class_of = {record.id: record.class_name for record in source.records}
    parts = ("d", "c", "e")
    counts = {part: Counter(class_of[identity] for identity in partitions.part(part)) for part in parts}
    table = new_table("class", show_footer=True)
    table.columns[0].footer = "all"
    for part in parts:
        table.add_column(part, justify="right", footer=str(counts[part].total()))
    for name in sorted(set(class_of.values())):
        table.add_row(escape(printable(name) or "(unlabeled)"), *(str(counts[part][name]) for part in parts))
    console().print(table)
