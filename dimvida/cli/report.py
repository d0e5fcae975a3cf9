"""``dimvida report``: one page of what runs have written."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dimvida.cli import options
from dimvida.errors import InputError


def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="What other commands made, a folder each.")],
    out: options.Out,
    paper: Annotated[
        bool, typer.Option("--paper/--no-paper", help="The paper's figures, of the NMR data, beside yours.")
    ] = True,
    data: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="What views were generated from, for galleries."),
    ] = None,
    view: options.SingleView = None,
    nmr_views: options.NmrViews = None,
) -> int:
    """Write one report of trainings, evaluations and classifications.

    Each RUN is an --out of train, evaluate, classify, generate or reproduce, or
    a folder with a solvers.json of bench solvers. DIR gets report.html, a page
    that needs no other file and no network, report.md with images/, and
    report.json with all numbers. What is missing is left out, with the command
    that makes it. Views that generate made get a gallery to look through; they
    may be in a bucket.
    """
    from dimvida.data.nmr_arrays import parse_nmr_views
    from dimvida.data.opening import open_source
    from dimvida.files import require_writable_folder
    from dimvida.report.report import write_report

    require_writable_folder("--out", out)
    if view is not None and data is None:
        raise InputError("--view names the view of the images of --data; give that, too")
    given = None if data is None else open_source(data, view=view, nmr_views=parse_nmr_views(nmr_views))
    page = write_report(runs, out, paper=paper, given=given)
    print(f"report: {page}")
    return 0
