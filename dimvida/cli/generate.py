"""``dimvida generate``: missing views of a data set's objects, into a folder that any number of runs may complete."""

from __future__ import annotations

import itertools
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dimvida.cli import generate_options as own
from dimvida.cli import options
from dimvida.cli.options import OUTPUT, option, parse_names, resolve_device
from dimvida.cli.progress import ProgressBar, duration
from dimvida.cli.terminal import note
from dimvida.data.names import byte_size, counted, input_lines
from dimvida.errors import DimvidaError

if TYPE_CHECKING:
    from dimvida.data.source import MultiViewSource
    from dimvida.generation.cluster import RayCluster
    from dimvida.generation.jobs import Job
    from dimvida.generation.run import Generation, MakeShards
    from dimvida.generation.stats import GenerationReport
    from dimvida.generation.storage import Place

FILES_SHOWN = 20  # skipped or damaged files on the screen; of those that are skipped the report lists all


def _verify(folder: str | None) -> None:
    if folder is not None:
        raise typer.Exit(verify_output(folder))


def generate(
    input_: own.Input,
    out: options.OutPlace,
    view: own.View = None,
    target: own.Target = None,
    azimuths: own.Azimuths = None,
    elevation: own.Elevation = None,
    azimuth: own.Azimuth = None,
    split: options.Split = None,
    column: options.Column = None,
    nmr_views: options.NmrViews = None,
    classes: options.Classes = None,
    limit: options.Limit = None,
    strict: own.Strict = False,
    skip_bad: options.SkipBad = False,
    workers: options.Readers = 0,
    checkpoint: options.Checkpoint = "bundled",
    batch: own.BatchOrAuto = "auto",
    steps: options.Steps = None,
    solver: options.Solver = None,
    seed: options.NoiseSeed = 0,
    samples_per_view: own.SamplesPerView = 1,
    backend: options.Backend = "auto",
    dtype: options.DType = "auto",
    device: options.Device = "auto",
    format_: own.Format = "imagefolder",
    image_format: own.ImageFormat = None,
    quality: own.Quality = None,
    include_known: own.IncludeKnown = False,
    shard_size: own.ShardSize = None,
    shard: own.Shard = None,
    ray: own.Ray = None,
    cpus_per_worker: own.CpusPerWorker = None,
    overwrite: options.Overwrite = False,
    dry_run: own.DryRun = False,
    verify: Annotated[
        str | None,
        option(  # eager, so that it needs no other option
            OUTPUT, "Only check every file of an output.", metavar="DIR", callback=_verify, is_eager=True
        ),
    ] = None,
    sheet: own.Sheet = None,
    sheet_rows: own.SheetRows = 16,
    truth: own.Truth = None,
) -> int:
    """Generate missing views of objects; the same command again continues."""
    own.check_sheet(sheet, sheet_rows)
    own.check_member(shard, overwrite, sheet)
    own.check_cluster(ray, cpus_per_worker, shard, device, dry_run)
    views = own.parse_wanted(view, target, azimuths, azimuth, elevation)
    rows = own.parse_batch(batch)

    from dimvida.data.columns import parse_columns
    from dimvida.data.nmr_arrays import parse_nmr_views
    from dimvida.generation.cluster_connection import check_cores, find_cluster
    from dimvida.generation.jobs import look_out
    from dimvida.generation.run import Generation
    from dimvida.generation.storage import output_place
    from dimvida.generation.trial import best_batch, settings_with_batch
    from dimvida.sampling.multiview import load

    # What is quickly told comes first: places, who works on it, the model, which views there are and are wanted.
    output = output_place(out)
    _require_apart(input_, output, sheet)
    look = look_out(output)
    if ray is not None:
        look()
        ray = find_cluster(ray, note)
        check_cores(ray, cpus_per_worker)
    model = load(checkpoint, resolve_device(device) if ray is None else "cpu")
    data = split, parse_columns(column), parse_nmr_views(nmr_views), parse_names("--classes", classes)
    plan = own.plan_wanted(input_, model, views, *data, draws=samples_per_view, limit=limit)
    true_source = own.open_truth(input_, plan, truth)

    # Then how: what is chosen by options and the checkpoint, and a batch that fits, on which all processes agree.
    sampling = {"batch": rows, "steps": steps, "solver": solver, "seed": seed, "backend": backend, "dtype": dtype}
    pictures = {"include_known": include_known, "format": format_, "image_format": image_format, "quality": quality}
    chosen = {**sampling, **pictures, "shard_size": shard_size}
    find_batch = partial(best_batch, rows=len(plan), views=plan.most_views, folder=output, overwrite=overwrite)
    with _place_of_work(shard, ray, cpus_per_worker) as (job, cluster):
        if cluster is not None:
            settings = cluster.settings(model, chosen, find_batch, look, note)
        else:
            settings = settings_with_batch(
                model, chosen, lambda *of: job.broadcast_from_rank_0(partial(find_batch, *of))
            )
        generation = Generation(
            model, plan, settings, output, strict=strict, overwrite=overwrite, workers=workers, job=job
        )
        if dry_run:
            return _print_forecast(generation)
        with generation, _stopping_in_order(generation):
            report = _generate(generation, None if cluster is None else partial(cluster.make, generation))

    if report is None:
        if shard is not None:
            print(f"done: shards {shard} of {output}; others are still to do theirs")
        return 0
    if sheet is not None:
        _draw(sheet, generation, true_source, sheet_rows)
    if report.not_read and not skip_bad:
        raise _unreadable(report, output)
    return 0


def _require_apart(path: str, output: Place, sheet: Path | None) -> None:
    """Raise InputError for places among the input: an earlier output there would be read as a part of it."""
    from dimvida.data.sample import locate, require_apart

    if isinstance(output, Path):
        require_apart(locate(path), output)
    if sheet is not None:
        require_apart(locate(path), sheet, "--sheet")


def _draw(sheet: Path, generation: Generation, truth: MultiViewSource, rows: int) -> None:
    from dimvida.generation.sheet import write_sheet

    write_sheet(sheet, generation, truth, rows)
    print(f"contact sheet: {sheet}")


def _unreadable(report: GenerationReport, output: Place) -> DimvidaError:
    return DimvidaError(
        f"{counted(report.not_read, 'input file')} that cannot be read: skipped or left out, see "
        f"{output / 'report.json'} (not an error with --skip-bad)"
    )


@contextmanager
def _place_of_work(shard: str | None, address: str | None, cpus: int | None) -> Iterator[tuple[Job, RayCluster | None]]:
    """Who works together on the output, and where: in these processes, or on a cluster."""
    from dimvida.generation.jobs import alone, job_of

    if address is None:
        yield job_of(shard), None
        return
    from dimvida.generation.cluster import PATIENCE, RayCluster
    from dimvida.generation.cluster_connection import ray_connection

    with ray_connection(address) as grows:
        yield alone(PATIENCE), RayCluster(cpus, grows)


def _generate(generation: Generation, make: MakeShards | None) -> GenerationReport | None:
    """Do what is left of an output whose folder is locked, and tell of it in one of the processes."""
    folder, speaks = generation.output.folder, generation.job.speaks
    for line in generation.damaged:
        note(f"{line}; its shard is made again")
    before = not generation.pending
    report = _run_with_progress(generation, make) if speaks and not before else generation.run(make=make)
    if report is not None and speaks:
        for line in [] if before else input_lines(report.notes, report.left_out):
            note(line)
        print(f"{'finished before' if before else 'done'}: {report.summary()} in {folder}")
    return report


def _run_with_progress(generation: Generation, make: MakeShards | None) -> GenerationReport | None:
    for text in generation.plan.source.notes:
        note(text)
    with ProgressBar("generating", generation.plan.views, "views", start=generation.views_done) as bar:
        numbers = itertools.count(1)

        def show_skip(file: str, reason: str) -> None:
            number = next(numbers)
            if number <= FILES_SHOWN:
                bar.message(f"skipped {file}: {reason}")
            elif number == FILES_SHOWN + 1:
                bar.message("skipped more; the report lists all")

        try:
            return generation.run(bar.advance, show_skip, lambda text: bar.message(f"note: {text}"), make)
        except KeyboardInterrupt:
            bar.message("stopped; the same command continues")
            raise


@contextmanager
def _stopping_in_order(generation: Generation) -> Iterator[None]:
    """While entered, SIGTERM lets a process of several finish the shards that it has in hand.

    The agent of torchrun sends it to all ranks when one of them died. A process alone ends at once, as any other.
    """
    if generation.job.count == 1:
        yield
        return

    def ask(number: int, frame: object) -> None:
        generation.stopping = True

    previous = signal.signal(signal.SIGTERM, ask)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def verify_output(folder: str) -> int:
    """Check every hash of an output; nothing in it is changed.

    Raises:
        InputError: It is no output.
        DimvidaError: Something is damaged.
    """
    from dimvida.generation.storage import output_place
    from dimvida.generation.verify import find_damage, open_output

    place = output_place(folder)
    output = open_output(place)
    with ProgressBar("verifying", len(output.shards), "shards") as bar:
        damage = find_damage(output, bar.advance)
    for line in damage[:FILES_SHOWN]:
        print(line)
    if damage:
        are = "is" if len(damage) == 1 else "are"
        raise DimvidaError(
            f"{place}: {counted(len(damage), 'file')} {are} damaged or missing; the command that made it repairs it"
        )
    done = sum(output.stats(shard) is not None for shard in output.shards)
    print(
        f"{place}: {'finished' if output.finished else 'unfinished'}, {done} of {len(output.shards)} shards, all whole"
    )
    return 0


def _print_forecast(generation: Generation) -> int:
    """Print what a run would do; nothing is written."""
    from dimvida.generation.trial import forecast

    settings, plan, expected = generation.settings, generation.plan, forecast(generation)
    shards, pending = len(generation.shards), len(generation.pending)
    print(
        f"plan: {counted(plan.views, 'view')} of {counted(len(plan.tasks), 'object')} in {counted(len(plan), 'row')}, "
        f"{counted(expected.pictures, 'picture')} as {settings.format}"
    )
    for line in input_lines({}, plan.left_out):
        note(line)
    print(f"shards: {shards} of {settings.shard_size} rows in batches of {settings.batch}, {shards - pending} finished")
    print(f"model: {settings.solver}, {settings.steps} steps, {settings.backend} {settings.dtype} on {settings.device}")
    if expected.seconds is None or expected.size is None:
        print("time and size: not known, since none of the first inputs can be read")
    else:
        time, probed = duration(expected.seconds), counted(expected.probed, "row")
        print(f"time: about {time} for what is left, from {probed} in one process")
        free = "" if expected.free is None else f", and {byte_size(expected.free)} are free"
        print(f"size: about {byte_size(expected.size)}{free}")
    print("nothing was written")
    return 0
