"""``dimvida bench solvers``: how good views are by how many evaluations of the network they took."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dimvida.cli import options
from dimvida.cli.evaluation_data import open_for_evaluation, read_objects
from dimvida.cli.options import parse_names, parse_numbers, require_readable, resolve_device
from dimvida.cli.progress import ProgressBar
from dimvida.cli.terminal import RowPrinter, print_wrapped
from dimvida.errors import InputError
from dimvida.files import require_writable_file
from dimvida.results.metrics import LATENT_FRECHET, METRICS

if TYPE_CHECKING:
    from dimvida.bench.quality import QualityBench
    from dimvida.data.batch import MultiViewBatch
    from dimvida.data.source import MultiViewSource
    from dimvida.generation.settings import GenerationSettings
    from dimvida.results.solvers import SolversOfKnown, SolversResult
    from dimvida.sampling.multiview import MultiViewModel

STEPS = (5, 8, 10, 15, 20, 30, 50, 100)
MOST_KNOWN = 3


def solvers(
    data: options.Data,
    checkpoint: options.Checkpoint = "bundled",
    split: options.TestSplit = None,
    column: options.Column = None,
    nmr_views: options.NmrViews = None,
    limit: Annotated[int, typer.Option(metavar="N", min=1, help="So many objects, spread over all.")] = 128,
    solvers_: Annotated[str | None, typer.Option("--solvers", metavar="LIST", help="Default: all.")] = None,
    steps: Annotated[str | None, typer.Option(metavar="LIST", help="Default: 5,8,10,15,20,30,50,100.")] = None,
    known: Annotated[str | None, typer.Option(metavar="LIST", help="Known views; default: 1,2,3.")] = None,
    seed: options.NoiseSeed = 0,
    backend: options.Backend = "auto",
    dtype: options.DType = "auto",
    device: options.Device = "auto",
    batch: options.Batch = 256,
    json_: options.Json = None,
    plot: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw the curves (PNG).")] = None,
    skip_bad: options.SkipBad = False,
) -> int:
    """Measure each solver's quality against its number of evaluations.

    The reference is Euler-Maruyama with 250 evaluations, same inputs, same
    seed. PSNR in dB, against the true views and the reference's. LFD, latent
    Fréchet distance: between Gaussians fitted to the autoencoder's latents of
    two sets of views (no FID; it compares solvers of one model only).
    """
    numbers, evaluations = parse_numbers("--known", known), parse_numbers("--steps", steps) or STEPS
    names = parse_names("--solvers", solvers_)
    require_writable_file("--json", json_)
    require_writable_file("--plot", plot)

    from dimvida.bench import machine
    from dimvida.bench.quality import REFERENCE_STEPS, QualityBench, reconstruction
    from dimvida.diffusion.solvers import SOLVERS, step_table
    from dimvida.evaluation.objects import count_subsets
    from dimvida.generation.settings import resolve_settings
    from dimvida.results.files import write_json
    from dimvida.results.schema import SkippedInput
    from dimvida.results.solvers import SolversResult, quality_row
    from dimvida.sampling.multiview import load

    # What cannot be done is refused before anything is read.
    samplers = list(itertools.product(names or SOLVERS, evaluations))
    for name, count in samplers:
        step_table(name, count)
    source = open_for_evaluation(data, split, column=column, nmr_views=nmr_views)
    model = load(checkpoint, resolve_device(device))
    settings = resolve_settings(model, seed=seed, batch=batch, backend=backend, dtype=dtype)
    numbers = numbers or tuple(range(1, min(MOST_KNOWN + 1, len(model.view_names))))
    trajectories = count_subsets(len(model.view_names), numbers)
    objects, bad = read_objects(source, model, limit, model.view_names)

    ceiling, ceiling_distance = reconstruction(model, objects.images, batch)
    result = SolversResult(
        complete=False,
        versions=machine.versions(),
        hardware=machine.hardware(model.device),
        settings=_facts(data, source, objects, model, settings),
        reconstruction={"psnr_true": ceiling.mean, "distance_true": ceiling_distance},
        known=[],
        skipped=[SkippedInput(file.location, file.reason) for file in bad],
    )
    print_wrapped(_heading(result))

    work = (sum(count for _, count in samplers) + 2 * REFERENCE_STEPS) * trajectories * len(objects)
    sampling = {"batch": batch, "seed": seed, "backend": settings.backend, "dtype": settings.torch_dtype}
    with ProgressBar("sampling", work, "evaluations") as bar:
        for count in numbers:
            bench = QualityBench(model, objects.images, objects.ids, count, **sampling, progress=bar.advance)
            table = _begin_table(bench, count)
            entry = _reference(bench, count, table)
            result.known.append(entry)
            for sampler in samplers:
                entry.points.append(bench.measure(*sampler))
                result.complete = (count, sampler) == (numbers[-1], samplers[-1])
                if json_ is not None:
                    write_json(json_, result)
                table.add(quality_row(entry.points[-1]))
    if plot is not None:
        _draw(plot, result)
    if not skip_bad:
        require_readable(bad)
    return 0


def _facts(
    data: Path, source: MultiViewSource, objects: MultiViewBatch, model: MultiViewModel, settings: GenerationSettings
) -> dict[str, Any]:
    """What is sampled and how, for the file."""
    from dimvida.bench.quality import REFERENCE_SOLVER, REFERENCE_STEPS

    return {
        "data": data.name,
        "splits": list(source.splits),
        "objects": len(objects),
        "checkpoint": model.checkpoint_hash,
        "views": len(model.view_names),
        "latent_dim": model.config.autoencoder.latent_dim,
        "x0_clip": model.config.sampling.x0_clip,
        "seed": settings.seed,
        "backend": settings.backend,
        "dtype": settings.dtype,
        "reference": {"solver": REFERENCE_SOLVER, "steps": REFERENCE_STEPS, "dtype": "float32"},
    }


def _heading(result: SolversResult) -> str:
    facts, ceiling = result.settings, result.reconstruction
    psnr = METRICS["psnr"].quantity(ceiling["psnr_true"])
    return (
        f"{facts['objects']} objects of {facts['data']} ({', '.join(facts['splits']) or 'no split'}), checkpoint "
        f"{facts['checkpoint'][:12]}, {facts['backend']} {facts['dtype']}, seed {facts['seed']}; the autoencoder's "
        f"reconstruction: {psnr}, {LATENT_FRECHET.short} {LATENT_FRECHET.number(ceiling['distance_true'])}"
    )


def _begin_table(bench: QualityBench, count: int) -> RowPrinter:
    """The table for a number of known views, whose rows are printed as soon as they are there."""
    from dimvida.results.solvers import quality_columns

    print(f"\n{count} known: {len(bench.subsets)} sets, {_pictures(bench)} views", flush=True)
    return RowPrinter(quality_columns())


def _pictures(bench: QualityBench) -> int:
    return len(bench.images) * len(bench.views)


def _reference(bench: QualityBench, count: int, table: RowPrinter) -> SolversOfKnown:
    """Measure and print the paper's sampler for a number of known views, twice; without points."""
    from dimvida.bench.quality import REFERENCE_STEPS
    from dimvida.results.solvers import SolversOfKnown, quality_row

    reference = bench.measure_reference(REFERENCE_STEPS)
    table.add(quality_row(reference, "reference"))
    draw = bench.measure_another_draw(REFERENCE_STEPS)
    table.add(quality_row(draw, "another draw"))
    return SolversOfKnown(
        known=count,
        sets=len(bench.subsets),
        views_scored=_pictures(bench),
        reference=reference,
        another_draw=draw,
        points=[],
    )


def _draw(plot: Path, result: SolversResult) -> None:
    from dimvida.results.charts import save_panels
    from dimvida.results.solvers import quality_charts

    try:
        save_panels(plot, [quality_charts(entry, "solvers") for entry in result.known])
    except (OSError, ValueError) as error:
        raise InputError(f"--plot {plot}: cannot be drawn ({error})") from error
