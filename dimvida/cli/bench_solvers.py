"""``dimvida bench solvers``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dimvida.cli import options
from dimvida.cli.bench_tables import print_wrapped, quality_heading, quality_line
from dimvida.cli.evaluation_data import open_for_evaluation, read_objects, require_readable
from dimvida.cli.options import parse_names, parse_numbers, resolve_device
from dimvida.cli.output import require_writable, write_json
from dimvida.cli.progress import ProgressBar
from dimvida.errors import InputError

if TYPE_CHECKING:
    from dimvida.evaluation.solver_quality import Quality

SCHEMA = 1
STEPS = (5, 8, 10, 15, 20, 30, 50, 100)
MOST_KNOWN = 3


def solvers(
    data: options.Data,
    checkpoint: options.Checkpoint = "bundled",
    split: options.SplitOrDefault = None,
    limit: Annotated[int, typer.Option(metavar="N", min=1, help="So many objects, spread over all.")] = 128,
    solvers_: Annotated[str | None, typer.Option("--solvers", metavar="LIST", help="Default: all.")] = None,
    steps: Annotated[str | None, typer.Option(metavar="LIST", help="Default: 5,8,10,15,20,30,50,100.")] = None,
    known: Annotated[str | None, typer.Option(metavar="LIST", help="Known views; default: 1,2,3.")] = None,
    seed: options.Seed = 0,
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
    require_writable("--json", json_)
    require_writable("--plot", plot)

    from dimvida.bench import machine
    from dimvida.diffusion.solvers import SOLVERS, step_table
    from dimvida.evaluation.protocol import view_subsets
    from dimvida.evaluation.solver_plot import plot_quality
    from dimvida.evaluation.solver_quality import REFERENCE_SOLVER, REFERENCE_STEPS, QualityBench, reconstruction
    from dimvida.generation.settings import resolve_settings
    from dimvida.sampling.multiview import load

    names = names or tuple(SOLVERS)
    for name in names:
        for count in evaluations:
            step_table(name, count)  # refuses what it cannot do before anything is read
    source = open_for_evaluation(data, split)
    model = load(checkpoint, resolve_device(device))
    settings = resolve_settings(model, seed=seed, batch=batch, backend=backend, dtype=dtype)
    views = len(model.view_names)
    numbers = numbers or tuple(range(1, min(MOST_KNOWN + 1, views)))
    trajectories = sum(len(view_subsets(views, count)) for count in numbers)
    objects, bad = read_objects(source, model, limit)
    ceiling, ceiling_distance = reconstruction(model, objects.images, batch)
    result: dict[str, Any] = {
        "benchmark": "solvers",
        "schema": SCHEMA,
        "complete": False,
        "versions": machine.versions(),
        "hardware": machine.hardware(model.device),
        "settings": {
            "data": data.name,
            "splits": list(source.splits),
            "objects": len(objects),
            "checkpoint": model.checkpoint_hash,
            "views": views,
            "latent_dim": model.config.autoencoder.latent_dim,
            "x0_clip": model.config.sampling.x0_clip,
            "seed": seed,
            "backend": settings.backend,
            "dtype": settings.dtype,
            "reference": {"solver": REFERENCE_SOLVER, "steps": REFERENCE_STEPS, "dtype": "float32"},
        },
        "reconstruction": {"psnr_true": ceiling.mean, "distance_true": ceiling_distance},
        "known": [],
        "skipped": [{"file": file.location, "reason": file.reason} for file in bad],
    }
    splits = ", ".join(source.splits) or "no split"
    print_wrapped(
        f"{len(objects)} objects of {data.name} ({splits}), checkpoint {model.checkpoint_hash[:12]}, "
        f"{settings.backend} {settings.dtype}, seed {seed}; the autoencoder's reconstruction: {ceiling.mean:.2f} dB, "
        f"LFD {ceiling_distance:.2f}"
    )
    points: dict[int, list[Quality]] = {}
    draws: dict[int, Quality] = {}
    work = (len(names) * sum(evaluations) + 2 * REFERENCE_STEPS) * trajectories * len(objects)
    with ProgressBar("sampling", work, "evaluations") as bar:
        for count in numbers:
            bench = QualityBench(
                model,
                objects.images,
                objects.ids,
                count,
                batch=batch,
                seed=seed,
                backend=settings.backend,
                dtype=settings.torch_dtype,
                progress=bar.advance,
            )
            pictures = len(objects) * len(bench.views)
            print(f"\n{count} known: {len(bench.subsets)} sets, {pictures} views\n{quality_heading()}", flush=True)
            reference = bench.measure_reference(REFERENCE_STEPS)
            print(quality_line(reference, "reference"), flush=True)
            draws[count] = bench.measure_another_draw(REFERENCE_STEPS)
            print(quality_line(draws[count], "another draw"), flush=True)
            entry: dict[str, Any] = {
                "known": count,
                "sets": len(bench.subsets),
                "views_scored": pictures,
                "reference": reference.to_dict(),
                "another_draw": draws[count].to_dict(),
                "points": [],
            }
            result["known"].append(entry)
            points[count] = []
            for name in names:
                for number in evaluations:
                    quality = bench.measure(name, number)
                    points[count].append(quality)
                    entry["points"].append(quality.to_dict())
                    result["complete"] = (count, name, number) == (numbers[-1], names[-1], evaluations[-1])
                    if json_ is not None:
                        write_json(json_, result)
                    print(quality_line(quality), flush=True)
    if plot is not None:
        try:
            plot_quality(plot, points, draws)
        except (OSError, ValueError) as error:
            raise InputError(f"--plot {plot}: cannot be drawn ({error})") from error
    if not skip_bad:
        require_readable(bad)
    return 0
