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

from dimvida.cli import options
from dimvida.cli.generate_options import (
    check_cluster,
    check_member,
    check_sheet,
    open_truth,
    parse_batch,
    parse_places,
    plan_named,
    plan_placed,
)
from dimvida.cli.options import DATA, MODEL, OUTPUT, option, parse_names, resolve_device
from dimvida.cli.progress import ProgressBar, duration
from dimvida.cli.terminal import note
from dimvida.data.names import counted
from dimvida.errors import DimvidaError
from dimvida.generation.formats import NAMES

if TYPE_CHECKING:
    from dimvida.generation.cluster import RayCluster
    from dimvida.generation.jobs import Job
    from dimvida.generation.run import Generation, MakeShards
    from dimvida.generation.stats import GenerationReport

SHOWN = 20  # skipped or damaged files on the screen; of those that are skipped the report lists all


def _verify(folder: str | None) -> None:
    if folder is not None:
        raise typer.Exit(verify_output(folder))


def generate(
    input_: Annotated[str, option(DATA, "Folder or zip, or 'sample'.", "--data", metavar="PATH")],
    out: options.OutPlace,
    view: Annotated[str | None, option(DATA, "Known views, as front,left; default: all.", metavar="NAMES")] = None,
    target: Annotated[str | None, option(DATA, "Views to generate; default: all missing.", metavar="NAMES")] = None,
    azimuths: Annotated[str | None, option(DATA, "Or views at angles, as 0,45,90 degrees.", metavar="DEG,...")] = None,
    elevation: Annotated[float | None, option(DATA, "Of these; default: checkpoint's.", metavar="DEG")] = None,
    azimuth: Annotated[str | None, option(DATA, "Where single views were taken.", metavar="DEG")] = None,
    split: options.Split = None,
    column: options.Column = None,
    nmr_views: options.NmrViews = None,
    classes: options.Classes = None,
    limit: options.Limit = None,
    strict: Annotated[bool, option(DATA, "Refuse images of another size.", "--strict")] = False,
    skip_bad: options.SkipBad = False,
    workers: options.Readers = 0,
    checkpoint: options.Checkpoint = "bundled",
    batch: Annotated[str, option(MODEL, "Objects at a time; default auto: what fits.", metavar="N")] = "auto",
    steps: options.Steps = None,
    solver: options.Solver = None,
    seed: options.NoiseSeed = 0,
    samples_per_view: Annotated[int, option(MODEL, "Draws of each object.", metavar="K")] = 1,
    backend: options.Backend = "auto",
    dtype: options.DType = "auto",
    device: options.Device = "auto",
    format_: Annotated[
        str, option(OUTPUT, f"{', '.join(NAMES)}; default imagefolder.", "--format", metavar="NAME")
    ] = "imagefolder",
    image_format: Annotated[str | None, option(OUTPUT, "png (default), jpeg or webp.", metavar="NAME")] = None,
    quality: Annotated[int | None, option(OUTPUT, "Of JPEG and WebP; default 90.", metavar="Q")] = None,
    include_known: Annotated[bool, option(OUTPUT, "Write the known views too.", "--include-known")] = False,
    shard_size: Annotated[int | None, option(OUTPUT, "Rows a shard; default about 1024.", metavar="N")] = None,
    shard: Annotated[str | None, option(OUTPUT, "Do part i of n, in an array job.", "--shard", metavar="I/N")] = None,
    ray: Annotated[str | None, option(OUTPUT, "Make shards on Ray, here or at ADDR.", metavar="ADDR")] = None,
    cpus_per_worker: Annotated[int | None, option(OUTPUT, "Cores, in place of a GPU each.", metavar="N")] = None,
    overwrite: options.Overwrite = False,
    dry_run: Annotated[bool, option(OUTPUT, "Say what would be done, and how long.", "--dry-run")] = False,
    verify: Annotated[  # eager, so that it needs no other option
        str | None,
        option(OUTPUT, "Only check every file of an output.", metavar="DIR", callback=_verify, is_eager=True),
    ] = None,
    sheet: Annotated[Path | None, option(OUTPUT, "Also draw a contact sheet (PNG).", metavar="FILE")] = None,
    sheet_rows: Annotated[int, option(OUTPUT, "Most rows of the sheet.", metavar="N")] = 16,
    truth: Annotated[Path | None, option(OUTPUT, "True views, for the sheet.", metavar="PATH")] = None,
) -> int:
    """Generate missing views of objects; the same command again continues."""
    check_sheet(sheet, sheet_rows)
    check_member(shard, overwrite, sheet)
    check_cluster(ray, cpus_per_worker, shard, device, dry_run)
    given, targets, rows = parse_names("--view", view), parse_names("--target", target), parse_batch(batch)
    angles, at = parse_places(azimuths, azimuth, elevation, given, targets)

    from dimvida.data.columns import parse_columns
    from dimvida.data.nmr_arrays import parse_nmr_views
    from dimvida.data.sample import locate, require_apart
    from dimvida.generation.cluster_connection import check_cores, find_cluster
    from dimvida.generation.jobs import look_out
    from dimvida.generation.run import Generation
    from dimvida.generation.storage import output_place
    from dimvida.generation.trial import best_batch, settings_with_batch
    from dimvida.sampling.multiview import load

    output = output_place(out)
    if isinstance(output, Path):  # before it is opened: an earlier output in it would be read as a part of it
        require_apart(locate(input_), output)
    if sheet is not None:
        require_apart(locate(input_), sheet, "--sheet")
    look = look_out(output)
    if ray is not None:
        look()
        ray = find_cluster(ray, note)
        check_cores(ray, cpus_per_worker)
    model = load(checkpoint, resolve_device(device) if ray is None else "cpu")
    views = parse_nmr_views(nmr_views)
    objects = split, parse_columns(column), views, parse_names("--classes", classes), samples_per_view
    if angles is None:
        plan = plan_named(input_, model, given, targets, *objects).first(limit)
    else:
        plan = plan_placed(input_, model, given, at, angles, elevation, *objects, limit)
    true_source = open_truth(input_, plan, truth)
    chosen = {
        "batch": rows,
        "steps": steps,
        "solver": solver,
        "seed": seed,
        "backend": backend,
        "dtype": dtype,
        "include_known": include_known,
        "format": format_,
        "image_format": image_format,
        "quality": quality,
        "shard_size": shard_size,
    }
    find_batch = partial(best_batch, rows=len(plan), views=plan.most_views, folder=output, overwrite=overwrite)
    with _place_of_work(shard, ray, cpus_per_worker) as (job, cluster):
        if cluster is not None:
            settings = cluster.settings(model, chosen, find_batch, look, note)
        else:  # all processes of the job agree on a batch
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
        from dimvida.generation.sheet import write_sheet

        write_sheet(sheet, generation, true_source, sheet_rows)
        print(f"contact sheet: {sheet}")
    if report.not_read and not skip_bad:
        raise DimvidaError(
            f"{counted(report.not_read, 'input file')} that cannot be read: skipped or left out, see "
            f"{output / 'report.json'} (not an error with --skip-bad)"
        )
    return 0


@contextmanager
def _place_of_work(shard: str | None, address: str | None, cpus: int | None) -> Iterator[tuple[Job, RayCluster | None]]:
    """Who works together on the output, and where: in these processes, or on a cluster."""
    from dimvida.generation.jobs import alone, job_of

    if address is None:
        yield job_of(shard), None
        return
    from dimvida.generation.cluster_connection import ray_connection

    with ray_connection(address) as grows:
        from dimvida.generation.cluster import PATIENCE, RayCluster

        yield alone(PATIENCE), RayCluster(cpus, grows)


def _generate(generation: Generation, make: MakeShards | None) -> GenerationReport | None:
    """Do what is left of an output whose folder is locked, and tell of it in one of the processes."""
    folder, speaks = generation.output.folder, generation.job.speaks
    for line in generation.damaged:
        note(f"{line}; its shard is made again")
    before = not generation.pending
    report = _run_with_progress(generation, make) if speaks and not before else generation.run(make=make)
    if report is not None and speaks:
        for line in [] if before else report.note_lines():
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
            if number <= SHOWN:
                bar.message(f"skipped {file}: {reason}")
            elif number == SHOWN + 1:
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
    for line in damage[:SHOWN]:
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
    for reason, count in plan.left_out.items():
        note(f"{counted(count, 'object')} left out: {reason}")
    print(f"shards: {shards} of {settings.shard_size} rows in batches of {settings.batch}, {shards - pending} finished")
    print(f"model: {settings.solver}, {settings.steps} steps, {settings.backend} {settings.dtype} on {settings.device}")
    if expected.seconds is None or expected.size is None:
        print("time and size: not known, since none of the first inputs can be read")
    else:
        time, probed = duration(expected.seconds), counted(expected.probed, "row")
        print(f"time: about {time} for what is left, from {probed} in one process")
        free = "" if expected.free is None else f", and {_size(expected.free)} are free"
        print(f"size: about {_size(expected.size)}{free}")
    print("nothing was written")
    return 0


def _size(count: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"
