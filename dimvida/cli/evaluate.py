"""``dimvida evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dimvida.cli.device import resolve_device
from dimvida.cli.evaluation_data import open_for_evaluation, read_objects, require_readable
from dimvida.cli.names import parse_numbers
from dimvida.cli.output import write_json
from dimvida.cli.progress import ProgressBar

if TYPE_CHECKING:
    from dimvida.evaluation.views import Score, ViewScores


def evaluate(
    data: Annotated[Path, typer.Option(metavar="PATH", help="Multi-view data: a folder, a zip, or NMR.")],
    checkpoint: Annotated[str, typer.Option(metavar="DIR", help="A checkpoint's folder, or 'bundled'.")] = "bundled",
    split: Annotated[str | None, typer.Option(metavar="NAME", help="Default: 'test' if there is one.")] = None,
    known: Annotated[str | None, typer.Option(metavar="LIST", help="Known views, as 1,2; default: any.")] = None,
    steps: Annotated[int | None, typer.Option(metavar="N", help="Network evaluations.")] = None,
    solver: Annotated[str | None, typer.Option(metavar="NAME", help="Default: checkpoint's, as of --steps.")] = None,
    seed: Annotated[int, typer.Option(metavar="S", help="Of the noise.")] = 0,
    backend: Annotated[str, typer.Option(metavar="NAME", help="auto, eager or fused.")] = "auto",
    dtype: Annotated[str, typer.Option(metavar="NAME", help="auto, float32, bfloat16 or float16.")] = "auto",
    device: Annotated[str, typer.Option(metavar="NAME", help="auto, cpu, cuda, cuda:1, ...")] = "auto",
    limit: Annotated[int | None, typer.Option(metavar="N", min=1, help="Only N objects, spread over all.")] = None,
    batch: Annotated[int, typer.Option(metavar="N", min=1, help="Objects at a time.")] = 256,
    json_: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Also write the result here.")] = None,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Unreadable files are no error.")] = False,
) -> int:
    """Score generated views against the true ones: PSNR and SSIM.

    For k known views every subset of k views is given in turn; the mean is
    over all generated views. The last row, the autoencoder's reconstruction,
    is the ceiling. Use objects that the model was not trained on.
    """
    numbers = parse_numbers("--known", known)

    from dimvida.evaluation.views import score_known, score_reconstruction, subsets
    from dimvida.generation.settings import resolve_settings
    from dimvida.sampling.multiview import load

    source = open_for_evaluation(data, split)
    model = load(checkpoint, resolve_device(device))
    settings = resolve_settings(model, steps=steps, solver=solver, seed=seed, batch=batch, backend=backend, dtype=dtype)
    counts = numbers or tuple(range(1, len(model.view_names)))
    trajectories = sum(len(subsets(len(model.view_names), count)) for count in counts)
    objects, bad = read_objects(source, model, limit)
    scores = []
    with ProgressBar("evaluating", trajectories * len(objects), "objects") as bar:
        for count in counts:
            scores.append(
                score_known(
                    model,
                    objects.images,
                    objects.ids,
                    count,
                    batch=batch,
                    steps=settings.steps,
                    solver=settings.solver,
                    seed=seed,
                    backend=settings.backend,
                    dtype=settings.torch_dtype,
                    progress=bar.advance,
                )
            )
    ceiling = score_reconstruction(model, objects.images, batch=batch)
    splits = ", ".join(source.splits) or "no split"
    print(f"{len(objects)} objects of {data.name} ({splits}), {settings.solver}, {settings.steps} steps, seed {seed}")
    _print_table(scores, ceiling)
    if json_ is not None:
        result = {
            "data": data.name,
            "splits": list(source.splits),
            "objects": len(objects),
            "checkpoint": model.checkpoint_hash,
            "solver": settings.solver,
            "steps": settings.steps,
            "seed": seed,
            "known": [score.to_dict() for score in scores],
            "reconstruction": ceiling.to_dict(),
            "skipped": [{"file": file.location, "reason": file.reason} for file in bad],
        }
        write_json(json_, result)
    if not skip_bad:
        require_readable(bad)
    return 0


def _print_table(scores: list[ViewScores], ceiling: ViewScores) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title="mean over views ± standard error", title_style="")
    for heading in ("known views", "subsets", "views scored", "PSNR, dB", "SSIM"):
        table.add_column(heading, justify="right")
    for score in scores:
        table.add_row(str(score.known), str(score.subsets), *_cells(score))
    table.add_row("reconstruction", "", *_cells(ceiling))
    Console().print(table)
    equal = sum(score.psnr.equal for score in (*scores, ceiling))
    if equal:
        print(f"note: {equal} views equal the true ones exactly; PSNR is infinite there and leaves them out")


def _cells(score: ViewScores) -> tuple[str, str, str]:
    return str(score.ssim.pictures), _cell(score.psnr, 2), _cell(score.ssim, 4)


def _cell(score: Score, digits: int) -> str:
    return f"{score.mean:.{digits}f} ± {score.standard_error:.{digits}f}"
