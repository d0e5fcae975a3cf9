"""``dimvida generate``."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING

from dimvida.cli import generate_options as opt
from dimvida.cli import options
from dimvida.cli.generate_checks import check_member, check_sheet, parse_batch
from dimvida.cli.generate_ranks import stop_in_order
from dimvida.cli.options import parse_names, resolve_device
from dimvida.cli.progress import ProgressBar, note
from dimvida.data.names import counted
from dimvida.errors import DimvidaError

if TYPE_CHECKING:
    from dimvida.data.source import MultiViewSource
    from dimvida.generation.report import GenerationReport
    from dimvida.generation.run import Generation

SKIPS_SHOWN = 20  # on the screen; the report lists all


def generate(
    input_: opt.Input,
    output: options.Out,
    view: opt.View = None,
    target: opt.Target = None,
    split: options.Split = None,
    strict: opt.Strict = False,
    skip_bad: options.SkipBad = False,
    workers: options.Readers = 0,
    checkpoint: options.Checkpoint = "bundled",
    batch: opt.Batch = "auto",
    steps: options.Steps = None,
    solver: options.Solver = None,
    seed: options.Seed = 0,
    samples_per_view: opt.SamplesPerView = 1,
    backend: options.Backend = "auto",
    dtype: options.DType = "auto",
    device: options.Device = "auto",
    format_: opt.Format = "imagefolder",
    image_format: opt.ImageFormat = None,
    quality: opt.Quality = None,
    include_known: opt.IncludeKnown = False,
    shard_size: opt.ShardSize = None,
    shard: opt.ShardOption = None,
    overwrite: options.Overwrite = False,
    dry_run: opt.DryRun = False,
    verify: opt.Verify = None,
    sheet: opt.Sheet = None,
    sheet_rows: opt.SheetRows = 16,
    truth: opt.Truth = None,
) -> int:
    """Generate missing views of objects; the same command again continues."""
    check_sheet(sheet, sheet_rows)
    check_member(shard, overwrite, sheet)
    given, targets, rows = parse_names("--view", view), parse_names("--target", target), parse_batch(batch)

    from dimvida.data.sample import locate, require_apart
    from dimvida.generation.jobs import job_of
    from dimvida.generation.plan import make_plan
    from dimvida.generation.run import Generation
    from dimvida.generation.settings import resolve_settings
    from dimvida.sampling.multiview import load

    require_apart(locate(input_), output)  # before it is opened: an earlier output in it would be read as a part of it
    if sheet is not None:
        require_apart(locate(input_), sheet, "--sheet")
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
        format=format_,
        image_format=image_format,
        quality=quality,
        shard_size=shard_size,
    )
    job = job_of(shard)
    if rows is None:
        from dimvida.generation.auto_batch import with_best_batch

        settings = with_best_batch(model, plan, settings, output, job, shard_size=shard_size, overwrite=overwrite)
    generation = Generation(model, plan, settings, output, strict=strict, overwrite=overwrite, workers=workers, job=job)
    if dry_run:
        from dimvida.cli.generate_verify import print_forecast

        return print_forecast(generation)
    with generation, stop_in_order(generation):
        report = _generate(generation)
    if report is None:
        print(f"done: shards {shard} of {output}; others are still to do theirs")
        return 0
    if job.rank == 0 and sheet is not None:
        from dimvida.generation.sheet import write_sheet

        write_sheet(sheet, generation, true_source, sheet_rows)
        print(f"contact sheet: {sheet}")
    if report.not_read and not skip_bad:
        raise DimvidaError(
            f"{counted(report.not_read, 'input file')} that cannot be read: skipped or left out, see "
            f"{output / 'report.json'} (not an error with --skip-bad)"
        )
    return 0


def _open(
    path: str, view_names: tuple[str, ...], given: tuple[str, ...] | None, split: str | None, truth: Path | None
) -> tuple[MultiViewSource, MultiViewSource]:
    """The input, and what has the true views: the input itself unless something else is given."""
    from dimvida.data.opening import open_source
    from dimvida.data.sample import is_sample, sample_truth
    from dimvida.generation.plan import open_input

    source = open_input(path, view_names, given, split)
    if truth is None and is_sample(path):
        truth = sample_truth()
    return source, source if truth is None else open_source(truth)


def _generate(generation: Generation) -> GenerationReport | None:
    """Do what is left of an output whose folder is locked."""
    folder, speaks = generation.output.folder, generation.job.rank == 0 or not generation.job.steals
    for line in generation.damaged:
        note(f"{line}; its shard is made again")
    if not generation.pending:
        report = generation.output.finish()
        if speaks:
            print(f"finished before: {report.summary()} in {folder}")
        return report
    report = _run(generation) if speaks else generation.run()
    if report is not None and speaks:
        for line in report.note_lines():
            note(line)
        print(f"done: {report.summary()} in {folder}")
    return report


def _run(generation: Generation) -> GenerationReport | None:
    for text in generation.plan.source.notes:
        note(text)
    with ProgressBar("generating", generation.plan.views, "views", start=generation.views_done) as bar:
        numbers = itertools.count(1)

        def show_skip(file: str, reason: str) -> None:
            number = next(numbers)
            if number <= SKIPS_SHOWN:
                bar.message(f"skipped {file}: {reason}")
            elif number == SKIPS_SHOWN + 1:
                bar.message("skipped more; the report lists all")

        try:
            return generation.run(bar.advance, show_skip, lambda text: bar.message(f"note: {text}"))
        except KeyboardInterrupt:
            bar.message("stopped; the same command continues")
            raise
