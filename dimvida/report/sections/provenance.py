"""What was skipped, and the command lines, settings and versions that made the results."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from dimvida.report.document import Block, Cell, Column, Lines, Note, Section, Table, Text
from dimvida.report.reading import Part, Runs
from dimvida.report.records import Chain
from dimvida.report.wording import command_line, skipped_line
from dimvida.results.metrics import DASH

SKIPS_SHOWN = 20  # in the page; report.json lists all


def skipped_section(runs: Runs) -> Section:
    """Inputs that were left out, by run."""
    blocks: list[Block] = []
    for part in runs:
        skipped = getattr(part.record, "skipped", [])
        if skipped:
            lines = [skipped_line(entry) for entry in skipped[:SKIPS_SHOWN]]
            more = len(skipped) - len(lines)
            blocks.append(
                Lines(f"{part.label}: {len(skipped)} left out", lines + ([f"and {more} more"] if more else []))
            )
    return Section("skipped", "What was skipped", blocks or [Text("Nothing: every input was read.")])


def provenance_section(runs: Runs, versions: dict[str, Any]) -> Section:
    """Command lines, settings and versions."""
    blocks: list[Block] = [_stages(part) for part in runs.chains]
    commands = list(dict.fromkeys(filter(None, (command_line(line) for line in _commands(runs)))))
    if commands:
        blocks.append(Lines("Command lines, in order", commands))
    if any(not part.record.command for part in runs.trainings) and not runs.chains:
        blocks.append(Note("Some trainings here do not say their command line; run.json has their configuration."))
    blocks.append(_settings(runs))
    blocks.append(_versions(runs, versions))
    return Section("provenance", "How this was made", blocks)


def _commands(runs: Runs) -> Iterator[list[str]]:
    for part in runs:
        yield getattr(part.record, "command", [])
        if isinstance(part.record, Chain):
            yield from (stage.command for stage in part.record.stages)


def _stages(part: Part[Chain]) -> Table:
    rows = [
        [
            Cell(stage.name),
            Cell(stage.folder),
            Cell("finished" if stage.finished else "not finished"),
            Cell(DASH if stage.minutes is None else f"{stage.minutes:.1f}"),
        ]
        for stage in part.record.stages
    ]
    columns = [
        Column("stage", numeric=False),
        Column("folder", numeric=False),
        Column("state", numeric=False),
        Column("minutes"),
    ]
    return Table(f"Stages of {part.label}.", columns, rows)


_SETTINGS = ("data", "checkpoint", "solver", "steps", "seed", "dtype", "backend")


def _settings(runs: Runs) -> Table:
    columns = [Column("run", numeric=False), *(Column(name, numeric=False) for name in _SETTINGS)]
    rows = []
    for part in (*runs.evaluations, *runs.classifications, *runs.solvers):
        values = part.content.get("settings", part.content)
        shown = [values.get(name) for name in _SETTINGS]
        rows.append([Cell(part.label), *(Cell(DASH if value is None else _short(str(value))) for value in shown)])
    return Table("Settings. A checkpoint is named by the beginning of its SHA-256.", columns, rows)


def _versions(runs: Runs, versions: dict[str, Any]) -> Table:
    named = [(part.label, part.record.versions) for part in runs if part.record.versions]
    named.append(("this report", versions))
    names = list(dict.fromkeys(name for _, values in named for name in values))
    rows = [[Cell(label), *(Cell(str(values.get(name) or DASH)) for name in names)] for label, values in named]
    return Table("Versions.", [Column("run", numeric=False), *(Column(name, numeric=False) for name in names)], rows)


def _short(text: str) -> str:
    """A hash by its first twelve digits, anything else as it is."""
    return text[:12] if len(text) == 64 and set(text) <= set("0123456789abcdef") else text
