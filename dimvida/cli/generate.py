"""``dimvida generate``."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING

from dimvida.cli import generate_options as opt
from dimvida.cli.device import resolve_device
from dimvida.cli.names import parse_names
from dimvida.cli.progress import ProgressBar
from dimvida.errors import DimvidaError, InputError

if TYPE_CHECKING:
    from dimvida.data.source import MultiViewSource
    from dimvida.generation.pipeline import Generation
    from dimvida.generation.report import Report

FORMATS = ("imagefolder",)
SHEET_SUFFIXES = (".png", ".jpg")
SKIPS_SHOWN = 20  # on the screen; the report lists all


def generate(
    input_: opt.Input,
    output: opt.Output,
    view: opt.View = None,
    target: opt.Target = None,
    split: opt.Split = None,
    strict: opt.Strict = False,
    skip_bad: opt.SkipBad = False,
    checkpoint: opt.CheckpointOption = "bundled",
    batch: opt.Batch = "auto",
    steps: opt.Steps = None,
    solver: opt.Solver = None,
    seed: opt.Seed = 0,
    samples_per_view: opt.SamplesPerView = 1,
    backend: opt.Backend = "auto",
    dtype: opt.DType = "auto",
    device: opt.Device = "auto",
    format_: opt.Format = "imagefolder",
    include_known: opt.IncludeKnown = False,
    overwrite: opt.Overwrite = False,
    sheet: opt.Sheet = None,
    sheet_rows: opt.SheetRows = 16,
    truth: opt.Truth = None,
) -> int:
    """Generate the missing views of objects.

    The same command again continues what was interrupted.
    """
    if format_ not in FORMATS:
        raise InputError(f"--format {format_}: choose from {', '.join(FORMATS)}")
    _check_sheet(sheet, sheet_rows)
    given, targets, rows = parse_names("--view", view), parse_names("--target", target), _parse_batch(batch)

    from dimvida.generation.pipeline import Generation
    from dimvida.generation.plan import make_plan
    from dimvida.generation.settings import resolve_settings
    from dimvida.generation.sheet import write_sheet
    from dimvida.sampling.multiview import load

    model = load(checkpoint, resolve_device(device))
    source, true_source = _open(input_, model.view_names, given, split, truth)
    plan = make_plan(source, model.view_names, given=given, targets=targets, draws=samples_per_view)
    settings = resolve_settings(
        model,
        steps=steps,
        solver=solver,
        seed=seed,
        batch=rows,
        backend=backend,
        dtype=dtype,
        include_known=include_known,
    )
    generation = Generation(model, plan, settings, output, strict=strict, overwrite=overwrite)
    if generation.output.finished:
        report = generation.output.report()
        print(f"finished before: {report.summary()} in {output}")
    else:
        report = _run(generation)
        print(f"done: {report.summary()} in {output}")
    if sheet is not None:
        write_sheet(sheet, generation, true_source, sheet_rows)
        print(f"contact sheet: {sheet}")
    if report.skipped and not skip_bad:
        raise DimvidaError(
            f"{len(report.skipped)} input files cannot be read and were skipped, see {output / 'report.json'} "
            "(not an error with --skip-bad)"
        )
    return 0


def _open(
    path: str, view_names: tuple[str, ...], given: tuple[str, ...] | None, split: str | None, truth: Path | None
) -> tuple[MultiViewSource, MultiViewSource]:
    """The input, and what has the true views: the input itself unless something else is given."""
    from dimvida.data.opening import open_source
    from dimvida.generation import sample
    from dimvida.generation.plan import open_input

    # The word means the bundled sample whatever is in the current folder; ./sample is a folder.
    bundled = path == sample.NAME
    source = open_input(sample.sample_input() if bundled else path, view_names, given, split)
    if truth is None and bundled:
        truth = sample.sample_truth()
    return source, source if truth is None else open_source(truth)


def _run(generation: Generation) -> Report:
    for note in generation.plan.source.notes:
        print(f"note: {note}")
    with ProgressBar("generating", generation.plan.views, "views", start=generation.views_done) as bar:
        numbers = itertools.count(1)

        def show_skip(file: str, reason: str) -> None:
            number = next(numbers)
            if number <= SKIPS_SHOWN:
                bar.message(f"skipped {file}: {reason}")
            elif number == SKIPS_SHOWN + 1:
                bar.message("skipped more; the report lists all")

        try:
            report = generation.run(bar.advance, show_skip)
        except KeyboardInterrupt:
            bar.message("stopped; the same command continues")
            raise
    for line in report.note_lines():
        print(f"note: {line}")
    return report


def _check_sheet(sheet: Path | None, rows: int) -> None:
    # Before the work, not after it.
    if rows < 1:
        raise InputError(f"--sheet-rows {rows}: must be at least 1")
    if sheet is not None and (sheet.suffix.lower() not in SHEET_SUFFIXES or sheet.is_dir()):
        raise InputError(f"--sheet {sheet}: name a file that ends in {' or '.join(SHEET_SUFFIXES)}")


def _parse_batch(text: str) -> int | None:
    """Objects at a time; None for auto."""
    if text == "auto":
        return None
    try:
        return int(text)
    except ValueError:
        raise InputError(f"--batch {text}: give a number or 'auto'") from None
