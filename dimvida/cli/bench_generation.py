"""``dimvida bench generation``."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dimvida.cli import options
from dimvida.cli.bench_sampling import torch_threads
from dimvida.cli.options import parse_names, parse_numbers, resolve_device
from dimvida.cli.output import require_writable, write_json
from dimvida.cli.progress import ProgressBar
from dimvida.errors import InputError

if TYPE_CHECKING:
    from dimvida.bench.generation import RunTimes
    from dimvida.data.source import MultiViewSource
    from dimvida.sampling.multiview import MultiViewModel

SCHEMA = 1
INPUTS = ("files", "npy")
MEMORY_BATCH, MEMORY_SHARD = 64, 512


def generation(
    objects: Annotated[int, typer.Option(metavar="N", min=1, help="Single-view images of each run.")] = 1024,
    batch: Annotated[str, typer.Option(metavar="LIST", help="Objects at a time.")] = "256,1024",
    formats: Annotated[str, typer.Option("--format", metavar="LIST", help="Forms.")] = "imagefolder,webdataset,npy",
    steps: Annotated[str | None, typer.Option(metavar="LIST", help="Default: the checkpoint's.")] = None,
    data: Annotated[Path | None, typer.Option(metavar="PATH", help="Objects; default: the sample.")] = None,
    split: options.Split = None,
    view: Annotated[str, typer.Option(metavar="NAME", help="The known view.")] = "front",
    inputs: Annotated[str, typer.Option(metavar="NAME", help="What they are: files (PNG) or npy.")] = "files",
    workers: options.Readers = 0,
    checkpoint: Annotated[str | None, typer.Option(metavar="DIR", help="A folder; default: bundled.")] = None,
    preset: Annotated[str | None, typer.Option(metavar="NAME", help="Or a preset's random weights.")] = None,
    loop: Annotated[int, typer.Option(metavar="N", min=0, help="Objects of the plain loop.")] = 64,
    compared: Annotated[int, typer.Option(metavar="N", min=0, help="Objects compared with the truth.")] = 64,
    memory: Annotated[int, typer.Option(metavar="N", min=0, help="Instead: memory over N objects, tiny model.")] = 0,
    threads: options.Threads = None,
    device: options.Device = "auto",
    json_: options.Json = None,
) -> int:
    """Time mass generation from files to files, and a plain loop beside it.

    Inputs are those of --data, repeated. The plain loop takes batches of 64,
    250 eager Euler-Maruyama steps and one Image.save for each view. The file
    is written after each run.
    """
    sizes, forms = parse_numbers("--batch", batch), parse_names("--format", formats)
    evaluations = parse_numbers("--steps", steps)
    if inputs not in INPUTS:
        raise InputError(f"--inputs {inputs}: choose from {', '.join(INPUTS)}")
    if preset is not None and checkpoint is not None:
        raise InputError("give --preset or --checkpoint, not both")
    require_writable("--json", json_)

    from dimvida.data.opening import open_source
    from dimvida.data.sample import NAME

    model = _model(preset, checkpoint, device)
    if view not in model.view_names:
        raise InputError(f"--view {view}: the checkpoint has no such view; it has {', '.join(model.view_names)}")
    source = open_source(data or NAME, split=split)
    with torch_threads(threads):
        result = _head(model, preset)

        def save() -> None:
            if json_ is not None:
                write_json(json_, result)

        if memory:
            result |= _memory(source, view, memory, forms or ())
        else:
            repeated = _Repeated(source, view, objects, inputs, workers)
            result["inputs"] = {"form": inputs, "objects": objects, "workers": workers}
            runs = tuple(itertools.product(evaluations or (model.config.sampling.steps,), sizes or (), forms or ()))
            _rates(model, repeated, runs, loop, result, save)
            result |= _quality(model, source, view, compared)
        save()
    return 0


@dataclass(frozen=True, slots=True)
class _Repeated:
    """What is generated from, see ``dimvida.bench.inputs``."""

    source: MultiViewSource
    view: str
    objects: int
    form: str
    workers: int


def _model(preset: str | None, checkpoint: str | None, device: str) -> MultiViewModel:
    from dimvida.cli.bench_sampling import preset_model
    from dimvida.sampling.multiview import load

    target = resolve_device(device)
    return load(checkpoint or "bundled", target) if preset is None else preset_model(preset).to(target)


def _head(model: MultiViewModel, preset: str | None) -> dict[str, Any]:
    """The result without any times."""
    from dimvida.bench import machine

    return {
        "benchmark": "generation",
        "schema": SCHEMA,
        "versions": machine.versions(),
        "hardware": machine.hardware(model.device),
        "filesystem": machine.filesystem(Path(tempfile.gettempdir())),
        "network": f"preset {preset}, random weights" if preset else None,
        "checkpoint": model.checkpoint_hash,
        "solver": model.config.sampling.solver,
    }


def _rates(
    model: MultiViewModel,
    repeated: _Repeated,
    wanted: Sequence[tuple[int, int, str]],
    loop: int,
    result: dict[str, Any],
    save: Callable[[], None],
) -> None:
    """Fill the result with encoders and runs, and save it after each."""
    from dimvida.bench.encoders import measure_encoders
    from dimvida.bench.generation import measure_loop, measure_run
    from dimvida.bench.inputs import repeated_inputs
    from dimvida.data.batch import load_batch

    source, view = repeated.source, repeated.view
    pictures, _, _ = load_batch(
        source, range(min(64, len(source))), image_size=model.image_size, channels=model.channels
    )
    made = model.generate(
        *_one_known(model, pictures.images, pictures.view_names, view)
    )  # also builds what the runs use
    encoders = measure_encoders([row.permute(1, 2, 0).contiguous().numpy() for row in made.flatten(0, 1)])
    for encoder in encoders:
        print(f"{encoder.name:24} {encoder.images_per_second:8.0f} images/s and core {encoder.size:8.0f} bytes")
    result["encoders"] = [encoder.to_dict() for encoder in encoders]
    result["runs"] = []
    runs = []

    def add(run: RunTimes) -> None:
        _print_run(run)
        runs.append(run)
        result["runs"].append(run.to_dict())
        save()

    total = (len(model.view_names) - 1) * (repeated.objects * len(wanted) + loop)
    with ProgressBar("timing", total, "views") as bar:
        with repeated_inputs(source, view, repeated.objects, repeated.form) as folder:
            for steps, size, form in wanted:
                workers = repeated.workers
                add(measure_run(model, folder, form, size, workers=workers, progress=bar.advance, steps=steps))
        if loop:
            with repeated_inputs(source, view, loop) as folder:
                add(measure_loop(model, folder, bar.advance))
    if loop:
        base = runs[-1].views / runs[-1].seconds
        for run in runs[:-1]:
            print(f"{_name(run)}: {run.views / run.seconds / base:.1f} times the plain loop")


def _quality(model: MultiViewModel, source: MultiViewSource, view: str, limit: int) -> dict[str, Any]:
    if not limit:
        return {}
    from dimvida.bench.generation import measure_quality

    scores = measure_quality(model, source, view, limit, batch=64)
    for name, score in scores.items():
        print(f"{name}: PSNR {score['psnr']:.2f} dB, SSIM {score['ssim']:.4f} over {score['views']} views")
    return {"quality": scores}


def _memory(source: MultiViewSource, view: str, objects: int, forms: tuple[str, ...]) -> dict[str, Any]:
    from dimvida.bench.generation import growth, measure_memory, tiny_model
    from dimvida.bench.inputs import repeated_inputs

    result = {}
    model = tiny_model(source.view_names)  # what is made does not matter, and how long it takes would
    with repeated_inputs(source, view, objects) as inputs:
        for form in forms:
            held = measure_memory(model, inputs, form, MEMORY_BATCH, MEMORY_SHARD)
            result[form] = {"growth": growth(held), "held": held[:: max(1, len(held) // 100)]}
            first, last = held[len(held) // 10][1], held[-1][1]
            print(
                f"{form}: {objects} objects, {first / 2**20:.0f} MiB after a tenth of them, {last / 2**20:.0f} MiB at "
                f"the end, growth {100 * result[form]['growth']:.1f} %"
            )
    return {"memory": result}


def _one_known(model: MultiViewModel, images: Any, names: tuple[str, ...], view: str) -> tuple[Any, Any]:
    views = images.new_zeros(len(images), len(model.view_names), *images.shape[2:])
    known = views.new_zeros(views.shape[:2]).bool()
    place = model.view_names.index(view)
    views[:, place] = images[:, names.index(view)]
    known[:, place] = True
    return views, known


def _print_run(run: RunTimes) -> None:
    shares = ", ".join(f"{name} {100 * value / run.seconds:.1f} %" for name, value in run.stages.items())
    rates = f"{run.objects / run.seconds:.1f} objects/s, {run.views / run.seconds:.1f} views/s"
    busy = "" if run.utilisation is None else f", GPU busy {run.utilisation['gpu_percent']['mean']:.0f} %"
    print(f"{_name(run)}: {rates}; {shares}; bound by the {run.bound_by}{busy}")


def _name(run: RunTimes) -> str:
    return f"{run.format}, batch {run.batch}, {run.steps} steps"
