"""How it came about: learning curves, what was skipped, and the command lines, settings and versions."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from pathlib import PurePath
from typing import Any

from dimvida.report.document import Block, Lines, Note, Section, Text, gallery, section_by_run
from dimvida.report.reading import Curve, GeneratedOutput, Part, Runs, slug
from dimvida.results.charts import LineChart, Series
from dimvida.results.files import CLASSIFIER, STAGES, ReproductionResult, TrainingResult
from dimvida.results.metrics import DASH
from dimvida.results.tables import Column, Table, TableCell, text_column

SKIPS_SHOWN = 20  # in the page; report.json lists all
SETTINGS_COMPARED = ("data", "checkpoint", "solver", "steps", "seed", "dtype", "backend")


def training_section(runs: Runs) -> Section:
    """Training and validation loss of every stage of every training."""
    missing = Note("No training among these runs. To train a model:", "missing", "dimvida train --data DATA --out RUN")

    def blocks(part: Part[TrainingResult]) -> list[Block]:
        charts = [chart for curve in _sorted(part.curves) if (chart := _learning(part.label, curve))]
        shown = gallery(charts) if charts else Note(f"{part.label} has no learning curve yet.")
        return [Text(_trained_on(part.record.data)), shown]

    return section_by_run("training", "Learning curves", runs.trainings, blocks, missing)


def skipped_section(runs: Runs) -> Section:
    """Inputs that were left out, by run."""
    blocks: list[Block] = []
    for part in runs:
        skipped = getattr(part.record, "skipped", [])
        if skipped:
            lines = [": ".join(filter(None, (entry.file, entry.reason))) for entry in skipped[:SKIPS_SHOWN]]
            more = len(skipped) - len(lines)
            lines += [f"and {more} more"] if more else []
            blocks.append(Lines(f"{part.label}: {len(skipped)} left out", lines))
    return Section("skipped", "What was skipped", blocks or [Text("Nothing: every input was read.")])


def provenance_section(runs: Runs, versions: dict[str, Any]) -> Section:
    """Command lines, settings and versions."""
    blocks: list[Block] = [_stages(part) for part in runs.chains]
    commands = list(dict.fromkeys(filter(None, (command_line(line) for line in _commands(runs)))))
    if commands:
        blocks.append(Lines("Command lines, in order", commands))
    if any(not part.record.command for part in runs.trainings) and not runs.chains:
        blocks.append(Note("Some trainings here do not say their command line; run.json has their configuration."))
    blocks += [_settings(runs), _versions(runs, versions)]
    return Section("provenance", "How this was made", blocks)


def command_line(arguments: Sequence[str]) -> str:
    """A command line as one types it, however the program was started."""
    if not arguments:
        return ""
    program, *rest = arguments
    if PurePath(program).name in ("dimvida", "__main__.py"):
        program = "dimvida"
    elif program.startswith("-"):
        program, rest = "dimvida", list(arguments)
    return shlex.join([program, *rest])


def _commands(runs: Runs) -> Iterator[list[str]]:
    for part in runs:
        yield getattr(part.record, "command", [])
        if isinstance(part.record, ReproductionResult):
            yield from (stage.command for stage in part.record.stages)


def _stages(part: Part[ReproductionResult]) -> Table:
    columns = [text_column("stage"), text_column("folder"), text_column("state"), Column("minutes")]
    rows = [
        [
            TableCell(stage.name),
            TableCell(stage.folder),
            TableCell("finished" if stage.finished else "not finished"),
            TableCell(DASH if stage.minutes is None else f"{stage.minutes:.1f}"),
        ]
        for stage in part.record.stages
    ]
    return Table(f"Stages of {part.label}.", columns, rows)


def _settings(runs: Runs) -> Table:
    rows = []
    for part in (*runs.evaluations, *runs.classifications, *runs.solvers, *runs.generated):
        made = isinstance(part.record, GeneratedOutput)
        values = part.record.configuration if made else part.content.get("settings", part.content)
        shown = [values.get(name) for name in SETTINGS_COMPARED]
        cells = [TableCell(DASH if value is None else _short(str(value))) for value in shown]
        rows.append([TableCell(part.label), *cells])
    columns = [text_column("run"), *map(text_column, SETTINGS_COMPARED)]
    return Table("Settings. A checkpoint is named by the beginning of its SHA-256.", columns, rows)


def _versions(runs: Runs, versions: dict[str, Any]) -> Table:
    named = [(part.label, part.record.versions) for part in runs if part.record.versions]
    named.append(("this report", versions))
    names = list(dict.fromkeys(name for _, values in named for name in values))
    rows = [
        [TableCell(label), *(TableCell(str(values.get(name) or DASH)) for name in names)] for label, values in named
    ]
    return Table("Versions.", [text_column("run"), *map(text_column, names)], rows)


def _short(text: str) -> str:
    """A hash by its first twelve digits, anything else as it is."""
    return text[:12] if len(text) == 64 and set(text) <= set("0123456789abcdef") else text


def _trained_on(data: dict[str, Any]) -> str:
    choice = [
        f"{what} {data[name]}" for name, what in (("split", "split"), ("partition", "part d of")) if data.get(name)
    ]
    where = f" ({', '.join(choice)})" if choice else ""
    return f"Trained on {data['name']}{where}." if data.get("name") else "Loss against optimiser steps."


def _sorted(curves: Sequence[Curve]) -> list[Curve]:
    order = (*STAGES, CLASSIFIER)
    return sorted(curves, key=lambda curve: order.index(curve.stage) if curve.stage in order else len(order))


def _learning(label: str, curve: Curve) -> LineChart | None:
    series = [
        Series(title, curve.values[name])
        for name, title in (("loss", "training"), ("validation_loss", "validation (EMA)"))
        if any(value is not None for value in curve.values.get(name, ()))
    ]
    if not series:
        return None
    positive = all(value is None or value > 0 for line in series for value in line.values)
    return LineChart(
        name=slug("learning", label, curve.stage),
        title=f"{curve.stage}: loss",
        places=curve.steps,
        series=series,
        labels=("step", "loss"),
        digits=3,
        logarithmic="y" if positive else "",
        marked=False,
    )
