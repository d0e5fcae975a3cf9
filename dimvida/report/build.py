"""The whole report: its parts in order, and everything that was read as one value."""

from __future__ import annotations

import platform
from importlib import metadata
from typing import Any

from dimvida._version import __version__
from dimvida.report import paper
from dimvida.report.document import Block, Document, Heading, Note, Section, Text
from dimvida.report.reading import SCHEMA, Runs
from dimvida.report.sections.beyond import beyond_section
from dimvida.report.sections.classification import classification_section
from dimvida.report.sections.comparisons import comparisons_section, confusion_section, effect_table, weak_generator
from dimvida.report.sections.generation import generation_section
from dimvida.report.sections.provenance import provenance_section, skipped_section
from dimvida.report.sections.solvers import solvers_section
from dimvida.report.sections.training import training_section
from dimvida.report.wording import TERMS

TITLE = "dimvida report"


def build_document(runs: Runs) -> Document:
    """Everything that a report of these runs says.

    Raises:
        InputError: A contact sheet is missing or damaged.
    """
    names = list(dict.fromkeys(part.record.data for part in (*runs.evaluations, *runs.classifications)))
    about = f"Results on {', '.join(names)}. " if names else ""
    quoted = f"Figures in columns headed “paper” are those of the DiMViDA paper ({paper.SOURCE}), for comparison; "
    introduction = about + (
        f"{quoted}all others were measured by the commands at the end."
        if runs.paper
        else "All figures were measured by the commands at the end."
    )
    sections = (
        _summary(runs),
        generation_section(runs),
        classification_section(runs),
        beyond_section(runs.classifications),
        comparisons_section(runs.classifications),
        confusion_section(runs.classifications),
        solvers_section(runs.solvers),
        training_section(runs.trainings),
        skipped_section(runs),
        provenance_section(runs, report_versions()),
    )
    return Document(TITLE, introduction, sections)


def merge(runs: Runs) -> dict[str, Any]:
    """Everything that was read, the paper's figures and the versions, for ``report.json``."""
    return {
        "schema": SCHEMA,
        "kind": "report",
        "versions": report_versions(),
        **({"paper": _paper()} if runs.paper else {}),
        "runs": [
            {
                "label": part.label,
                "result": type(part.record).__name__.lower(),
                "content": part.content,
                **({"curves": _curves(part.curves)} if part.curves else {}),
            }
            for part in runs
        ],
    }


def _paper() -> dict[str, Any]:
    return {
        "source": paper.SOURCE,
        "generation": {metric: _as_numbers(row) for metric, row in paper.GENERATION.items()},
        "classification": paper.CLASSIFICATION,
    }


def report_versions() -> dict[str, str]:
    """Versions of what makes the report."""
    return {
        "dimvida": __version__,
        "python": platform.python_version(),
        "matplotlib": metadata.version("matplotlib"),
        "platform": platform.system(),
    }


def _summary(runs: Runs) -> Section:
    blocks: list[Block] = []
    for part in runs.classifications:
        table = effect_table(part.record, runs.about_the_paper(part.record.data))
        warning = weak_generator(part.record)
        if len(runs.classifications) > 1 and (table or warning):
            blocks.append(Heading(part.label))
        blocks += [Note(warning, "warning")] if warning else []
        blocks += [table] if table else []
    if blocks:
        blocks.insert(0, Text(TERMS))
    else:
        blocks.append(
            Text("The effect of generated views on accuracy stands here once dimvida classify has measured it.")
        )
    return Section("summary", "Do generated views help?", blocks)


def _as_numbers(row: dict[int, str]) -> dict[str, float]:
    return {str(known): float(figure) for known, figure in row.items()}


def _curves(curves) -> dict[str, Any]:
    return {curve.stage: {"step": curve.steps, **curve.values} for curve in curves}
