"""``dimvida bench generation``: how fast mass generation is, from files to files."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dimvida.cli import options
from dimvida.cli.options import parse_names, parse_numbers, resolve_device
from dimvida.cli.progress import ProgressBar
from dimvida.cli.terminal import RowPrinter, print_table
from dimvida.errors import InputError, require_choice
from dimvida.files import require_writable_file

if TYPE_CHECKING:
    from dimvida.data.source import MultiViewSource
    from dimvida.results.generation import GenerationBenchmark, RunTimes
    from dimvida.sampling.multiview import MultiViewModel

INPUTS = ("files", "npy")


def generation(
    objects: Annotated[int, typer.Option(metavar="N", min=1, help="Single-view images of each run.")] = 1024,
    batch: Annotated[str, typer.Option(metavar="LIST", help="Objects at a time.")] = "256,1024",
    formats: Annotated[str, typer.Option("--format", metavar="LIST", help="Forms.")] = "imagefolder,webdataset,npy",
    steps: Annotated[str | None, typer.Option(metavar="LIST", help="Default: the checkpoint's.")] = None,
    data: Annotated[Path | None, typer.Option(metavar="PATH", help="Objects; default: the sample.")] = None,
    split: options.Split = None,
    column: options.Column = None,
    view: Annotated[str, typer.Option(metavar="NAME", help="The known view.")] = "front",
    inputs: Annotated[str, typer.Option(metavar="NAME", help="What they are: files (PNG) or npy.")] = "files",
    workers: options.Readers = 0,
    checkpoint: options.TimedCheckpoint = None,
    preset: options.TimedPreset = None,
    loop: Annotated[int, typer.Option(metavar="N", min=0, help="Objects of the plain loop.")] = 64,
    compared: Annotated[int, typer.Option(metavar="N", min=0, help="Objects compared with the truth.")] = 64,
    host: Annotated[bool, typer.Option("--host", help="Instead: all but the networks, and its floor.")] = False,
    threads: options.Threads = None,
    device: options.Device = "auto",
    json_: options.Json = None,
) -> int:
    """Time mass generation from files to files, and a plain loop beside it.

    Inputs are those of --data, repeated; weights by default the bundled
    checkpoint's. The plain loop takes batches of 64,
    250 eager Euler-Maruyama steps and one Image.save for each view. With
    --host a model that only hands back pictures takes the place of the
    networks, inputs are arrays, and the floor reads, hashes, encodes and
    writes the same bytes in a plain loop on every core. The file is written
    after each run.
    """
    sizes, forms = parse_numbers("--batch", batch) or (), parse_names("--format", formats) or ()
    evaluations = parse_numbers("--steps", steps)
    require_choice("--inputs", inputs, INPUTS)
    require_writable_file("--json", json_)

    from dimvida.bench import machine
    from dimvida.bench.case import chosen_model
    from dimvida.data.columns import parse_columns
    from dimvida.data.opening import open_source
    from dimvida.data.sample import NAME
    from dimvida.results.files import write_json
    from dimvida.results.generation import GenerationBenchmark

    model = chosen_model(preset, checkpoint, resolve_device(device))
    if view not in model.view_names:
        raise InputError(f"--view {view}: the checkpoint has no such view; it has {', '.join(model.view_names)}")
    source = open_source(data or NAME, split=split, columns=parse_columns(column))

    def save() -> None:
        if json_ is not None:
            write_json(json_, result)

    with machine.torch_threads(threads):
        result = GenerationBenchmark(
            versions=machine.versions(),
            hardware=machine.hardware(model.device),
            filesystem=machine.filesystem(Path(tempfile.gettempdir())),
            network=f"preset {preset}, random weights" if preset else None,
            checkpoint=model.checkpoint_hash,
            solver=model.config.sampling.solver,
        )
        if host:
            _measure_host(result, source, view, objects, forms, sizes)
        else:
            result.inputs = {"form": inputs, "objects": objects, "workers": workers}
            cells = list(itertools.product(evaluations or (model.config.sampling.steps,), sizes, forms))
            _measure_runs(result, model, source, view, cells, loop, save)
            _measure_stages(result, model, cells)
            if compared:
                _compare(result, model, source, view, compared)
        save()
    return 0


def _measure_host(
    result: GenerationBenchmark,
    source: MultiViewSource,
    view: str,
    objects: int,
    forms: tuple[str, ...],
    sizes: tuple[int, ...],
) -> None:
    """Everything but the networks, for each form and batch, beside its floor."""
    from dimvida.bench.host import ROUNDS, measure_host
    from dimvida.results.generation import host_table

    result.host = []
    cells = list(itertools.product(forms, sizes))
    with ProgressBar("timing", objects * ROUNDS * len(cells), "objects") as bar:
        for form, size in cells:
            result.host.append(measure_host(source, view, objects, form, size, bar.advance))
    print_table(host_table(result.host))


def _measure_runs(
    result: GenerationBenchmark,
    model: MultiViewModel,
    source: MultiViewSource,
    view: str,
    cells: Sequence[tuple[int, int, str]],
    loop: int,
    save: Callable[[], None],
) -> None:
    """A run for each number of evaluations, batch and form, then the plain loop, unless it is to have no objects."""
    from dimvida.bench import generation as runs
    from dimvida.results.generation import rate_columns, rate_row, shares_table

    facts, result.runs, table = result.inputs, [], RowPrinter(rate_columns())
    objects, form_of_inputs, workers = facts["objects"], facts["form"], facts["workers"]

    def add(run: RunTimes) -> None:
        table.add(rate_row(run))
        result.runs.append(run)
        save()

    runs.warm_up(model)
    with ProgressBar("timing", (len(model.view_names) - 1) * (objects * len(cells) + loop), "views") as bar:
        with runs.repeated_inputs(source, view, objects, form_of_inputs) as folder:
            for steps, batch, form in cells:
                add(runs.measure_run(model, folder, form, batch, steps, workers=workers, progress=bar.advance))
        if loop:
            with runs.repeated_inputs(source, view, loop) as folder:
                add(runs.measure_loop(model, folder, bar.advance))
    print_table(shares_table(result.runs[: len(cells)], result.runs[-1] if loop else None))


def _measure_stages(result: GenerationBenchmark, model: MultiViewModel, cells: Sequence[tuple[int, int, str]]) -> None:
    """The model's stages beside their floors."""
    from dimvida.bench.stages import stage_floors
    from dimvida.results.generation import stages_table

    timed = dict.fromkeys((batch, steps) for steps, batch, _ in cells)
    result.stages = [stage for batch, steps in timed for stage in stage_floors(model, batch, steps)]
    print_table(stages_table(result.stages))


def _compare(
    result: GenerationBenchmark, model: MultiViewModel, source: MultiViewSource, view: str, objects: int
) -> None:
    """Both ways of sampling beside the true views."""
    from dimvida.bench.generation import measure_quality
    from dimvida.results.generation import compared_table

    result.quality = measure_quality(model, source, view, objects, batch=64)
    print_table(compared_table(result.quality))
