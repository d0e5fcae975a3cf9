"""``dimvida report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dimvida.cli import options


def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders that other commands made.")],
    out: options.Out,
    paper: Annotated[
        bool, typer.Option("--paper/--no-paper", help="The paper's figures, of the NMR data, beside yours.")
    ] = True,
) -> int:
    """Write one report of trainings, evaluations and classifications.

    Each RUN is an --out of train, evaluate, classify or reproduce, or a folder
    with a solvers.json of bench solvers. DIR gets report.html, a page that
    needs no other file and no network, report.md with images/, and report.json
    with all numbers. What is missing is left out, with the command that makes
    it.
    """
    from dimvida.files import require_writable_folder
    from dimvida.report.report import write_report

    require_writable_folder("--out", out)
    page = write_report(runs, out, paper=paper)
    print(f"report: {page}")
    return 0
