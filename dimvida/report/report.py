"""A report from beginning to end: result files are read, sections made of them, and three files written."""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from dimvida._version import __version__
from dimvida.data.opening import open_source
from dimvida.data.source import MultiViewSource
from dimvida.errors import InputError
from dimvida.files import atomic_write
from dimvida.report import paper
from dimvida.report.classification import (
    beyond_section,
    classification_section,
    comparisons_section,
    confusion_section,
    summary_section,
)
from dimvida.report.document import Document
from dimvida.report.evaluation import evaluation_section, solvers_section
from dimvida.report.gallery import address, choose, generated_section, write_gallery
from dimvida.report.provenance import provenance_section, skipped_section, training_section
from dimvida.report.reading import Curve, Runs, read_runs
from dimvida.report.writing import IMAGES, pictures_of, render_markdown, render_page

SCHEMA = 1
TITLE = "dimvida report"
PAGE, TEXT, NUMBERS = "report.html", "report.md", "report.json"


def write_report(paths: Sequence[Path], out: Path, *, paper: bool = True, given: MultiViewSource | None = None) -> Path:
    """Read run folders and write ``report.html``, ``report.md`` with ``images/``, and ``report.json``.

    Outputs of generate get a gallery each, in ``gallery/``.

    A report that is there already is replaced; the same results give the same files.

    Args:
        paths: Folders of train, evaluate, classify, generate, bench solvers or reproduce; of generate also a URL.
        out: The folder to write, made if need be.
        paper: Whether the paper's figures stand beside.
        given: The data that views were generated from, for galleries to show them.

    Returns:
        The page.

    Raises:
        InputError: A folder is no run, a file in it is damaged, or nothing can be written.
    """
    runs = read_runs(paths, paper=paper)
    document = build_document(runs)
    numbers = json.dumps(merge(runs), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    page, text = render_page(document), render_markdown(document)
    shown = [
        choose(open_source(part.folder), part.record.configuration["view_names"], given) for part in runs.generated
    ]
    try:
        for part, contents in zip(runs.generated, shown, strict=True):
            write_gallery(part, contents, (out / address(part)).parent)
        (out / IMAGES).mkdir(parents=True, exist_ok=True)
        for picture in pictures_of(document):
            atomic_write(out / IMAGES / picture.name, picture.data)
        atomic_write(out / TEXT, text)
        atomic_write(out / NUMBERS, numbers)
        atomic_write(out / PAGE, page)
    except OSError as error:
        raise InputError(f"--out {out}: cannot be written ({error.strerror or error})") from error
    return out / PAGE


def build_document(runs: Runs) -> Document:
    """Everything that a report of these runs says.

    Raises:
        InputError: A contact sheet is missing or damaged.
    """
    if runs.generated and len(runs.generated) == len(list(runs)):
        about = "Views that dimvida generate made, and how."
        rooms = (generated_section(runs.generated), skipped_section(runs), provenance_section(runs, report_versions()))
        return Document(TITLE, about, rooms)
    names = list(dict.fromkeys(part.record.data for part in (*runs.evaluations, *runs.classifications)))
    about = f"Results on {', '.join(names)}. " if names else ""
    quoted = f"Figures in columns headed “paper” are those of the DiMViDA paper ({paper.SOURCE}), for comparison; "
    introduction = about + (
        f"{quoted}all others were measured by the commands at the end."
        if runs.paper
        else "All figures were measured by the commands at the end."
    )
    sections = (
        *([generated_section(runs.generated)] if runs.generated else []),
        summary_section(runs),
        evaluation_section(runs),
        classification_section(runs),
        beyond_section(runs),
        comparisons_section(runs),
        confusion_section(runs),
        solvers_section(runs),
        training_section(runs),
        skipped_section(runs),
        provenance_section(runs, report_versions()),
    )
    return Document(TITLE, introduction, sections)


def merge(runs: Runs) -> dict[str, Any]:
    """Everything that was read, the paper's figures and the versions, for ``report.json``."""
    generation = {
        metric: {str(known): float(figure) for known, figure in row.items()} for metric, row in paper.GENERATION.items()
    }
    quoted = {"source": paper.SOURCE, "generation": generation, "classification": paper.CLASSIFICATION}
    return {
        "schema": SCHEMA,
        "kind": "report",
        "versions": report_versions(),
        **({"paper": quoted} if runs.paper else {}),
        "runs": [
            {
                "label": part.label,
                "result": part.kind,
                "content": part.content,
                **({"curves": _curves(part.curves)} if part.curves else {}),
            }
            for part in runs
        ],
    }


def report_versions() -> dict[str, str]:
    """Versions of what makes the report."""
    return {
        "dimvida": __version__,
        "python": platform.python_version(),
        "matplotlib": metadata.version("matplotlib"),
        "platform": platform.system(),
    }


def _curves(curves: Sequence[Curve]) -> dict[str, Any]:
    return {curve.stage: {"step": curve.steps, **curve.values} for curve in curves}
