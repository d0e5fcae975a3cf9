"""``dimvida bench generation``."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dimvida.cli.bench_sampling import torch_threads
from dimvida.cli.device import resolve_device
from dimvida.cli.names import parse_names, parse_numbers
from dimvida.cli.output import require_writable, write_json
from dimvida.cli.progress import ProgressBar
from dimvida.errors import InputError

if TYPE_CHECKING:
    from dimvida.benchmark.generation import RunTimes
    from dimvida.data.source import MultiViewSource
    from dimvida.sampling.multiview import MultiViewModel

SCHEMA = 1
MEMORY_BATCH, MEMORY_SHARD = 64, 512


def generation(
    objects: Annotated[int, typer.Option(metavar="N", min=1, help="Single-view images of each run.")] = 1024,
    batch: Annotated[str, typer.Option(metavar="LIST", help="Objects at a time.")] = "256,1024",
    formats: Annotated[str, typer.Option("--format", metavar="LIST", help="Forms.")] = "imagefolder,webdataset,npy",
    steps: Annotated[str | None, typer.Option(metavar="LIST", help="Default: the checkpoint's.")] = None,
    data: Annotated[Path | None, typer.Option(metavar="PATH", help="Objects; default: the sample.")] = None,
    split: Annotated[str | None, typer.Option(metavar="NAME", help="Only objects of this split.")] = None,
    view: Annotated[str, typer.Option(metavar="NAME", help="The known view.")] = "front",
    checkpoint: Annotated[str, typer.Option(metavar="DIR", help="A checkpoint's folder.")] = "bundled",
    loop: Annotated[int, typer.Option(metavar="N", min=0, help="Objects of the plain loop.")] = 64,
    quality: Annotated[int, typer.Option(metavar="N", min=0, help="Objects compared with the truth.")] = 64,
    memory: Annotated[int, typer.Option(metavar="N", min=0, help="Instead: memory over N objects, tiny model.")] = 0,
    threads: Annotated[int | None, typer.Option(metavar="N", min=1, help="CPU threads of torch.")] = None,
    device: Annotated[str, typer.Option(metavar="NAME", help="auto, cpu, cuda, ...")] = "auto",
    json_: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Also write the result here.")] = None,
) -> int:
    """Time mass generation from files to files, and a plain loop beside it.

    Inputs are those of --data, repeated. The plain loop takes batches of 64,
    250 eager Euler-Maruyama steps and one Image.save for each view.
    """
    sizes, forms = parse_numbers("--batch", batch), parse_names("--format", formats)
    evaluations = parse_numbers("--steps", steps)
    require_writable("--json", json_)

    from dimvida.benchmark import machine
    from dimvida.data.opening import open_source
    from dimvida.generation.sample import sample_truth
    from dimvida.sampling.multiview import load

    model = load(checkpoint, resolve_device(device))
    if view not in model.view_names:
        raise InputError(f"--view {view}: the checkpoint has no such view; it has {', '.join(model.view_names)}")
    source = open_source(data or sample_truth(), split=split)
    with torch_threads(threads):
        result: dict[str, Any] = {
            "benchmark": "generation",
            "schema": SCHEMA,
            "versions": machine.versions(),
            "hardware": machine.hardware(model.device),
            "checkpoint": model.checkpoint_hash,
            "solver": model.config.sampling.solver,
        }
        if memory:
            result |= _memory(source, view, memory, forms or ())
        else:
            runs = tuple(itertools.product(evaluations or (model.config.sampling.steps,), sizes or (), forms or ()))
            result |= _rates(model, source, view, objects, runs, loop)
            result |= _quality(model, source, view, quality)
    if json_ is not None:
        write_json(json_, result)
    return 0


def _rates(
    model: MultiViewModel,
    source: MultiViewSource,
    view: str,
    objects: int,
    wanted: Sequence[tuple[int, int, str]],
    loop: int,
) -> dict[str, Any]:
    from dimvida.benchmark.encoders import measure_encoders
    from dimvida.benchmark.generation import measure_loop, measure_run, repeated_inputs
    from dimvida.data.batch import load_batch

    pictures, _, _ = load_batch(
        source, range(min(64, len(source))), image_size=model.image_size, channels=model.channels
    )
    made = model.generate(
        *_one_known(model, pictures.images, pictures.view_names, view)
    )  # also builds what the runs use
    encoders = measure_encoders([row.permute(1, 2, 0).contiguous().numpy() for row in made.flatten(0, 1)])
    for encoder in encoders:
        print(f"{encoder.name:24} {encoder.images_per_second:8.0f} images/s and core {encoder.size:8.0f} bytes")
    runs = []
    views = len(model.view_names) - 1
    total = views * (objects * len(wanted) + loop)
    with ProgressBar("timing", total, "views") as bar:
        with repeated_inputs(source, view, objects) as inputs:
            for steps, size, form in wanted:
                runs.append(measure_run(model, inputs, form, size, steps=steps, progress=bar.advance))
                _print_run(runs[-1])
        if loop:
            with repeated_inputs(source, view, loop) as inputs:
                runs.append(measure_loop(model, inputs, bar.advance))
            _print_run(runs[-1])
    if loop:
        base = runs[-1].views / runs[-1].seconds
        for run in runs[:-1]:
            print(f"{_name(run)}: {run.views / run.seconds / base:.1f} times the plain loop")
    return {"encoders": [encoder.to_dict() for encoder in encoders], "runs": [run.to_dict() for run in runs]}


def _quality(model: MultiViewModel, source: MultiViewSource, view: str, limit: int) -> dict[str, Any]:
    if not limit:
        return {}
    from dimvida.benchmark.generation import measure_quality

    scores = measure_quality(model, source, view, limit, batch=64)
    for name, score in scores.items():
        print(f"{name}: PSNR {score['psnr']:.2f} dB, SSIM {score['ssim']:.4f} over {score['views']} views")
    return {"quality": scores}


def _memory(source: MultiViewSource, view: str, objects: int, forms: tuple[str, ...]) -> dict[str, Any]:
    from dimvida.benchmark.generation import growth, measure_memory, repeated_inputs, tiny_model

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
    print(f"{_name(run)}: {run.objects / run.seconds:.1f} objects/s, {run.views / run.seconds:.1f} views/s; {shares}")


def _name(run: RunTimes) -> str:
    return f"{run.format}, batch {run.batch}, {run.steps} steps"
