"""A report's files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from dimvida.errors import InputError
from dimvida.files import atomic_write
from dimvida.report.build import build_document, merge
from dimvida.report.html import render_page
from dimvida.report.markdown import IMAGES, pictures_of, render_markdown
from dimvida.report.reading import read_runs

PAGE, TEXT, NUMBERS = "report.html", "report.md", "report.json"


def write_report(paths: Sequence[Path], out: Path, *, paper: bool = True) -> Path:
    """Read run folders and write ``report.html``, ``report.md`` with ``images/``, and ``report.json``.

    A report that is there already is replaced; the same results give the same files.

    Args:
        paths: Folders of train, evaluate, classify, bench solvers or reproduce.
        out: Where to; made if need be.
        paper: Whether the paper's figures stand beside.

    Returns:
        The page.

    Raises:
        InputError: A folder is no run, a file in it is damaged, or nothing can be written.
    """
    runs = read_runs(paths, paper=paper)
    document = build_document(runs)
    numbers = json.dumps(merge(runs), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    page, text = render_page(document), render_markdown(document)
    try:
        (out / IMAGES).mkdir(parents=True, exist_ok=True)
        for picture in pictures_of(document):
            atomic_write(out / IMAGES / picture.name, picture.data)
        atomic_write(out / TEXT, text)
        atomic_write(out / NUMBERS, numbers)
        atomic_write(out / PAGE, page)
    except OSError as error:
        raise InputError(f"--out {out}: cannot be written ({error.strerror or error})") from error
    return out / PAGE
