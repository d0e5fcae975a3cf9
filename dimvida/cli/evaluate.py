"""``dimvida evaluate``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dimvida.cli.device import resolve_device
from dimvida.cli.names import parse_numbers
from dimvida.cli.progress import ProgressBar
from dimvida.errors import DimvidaError, InputError

if TYPE_CHECKING:
    from dimvida.data.batch import BadFile, MultiViewBatch
    from dimvida.data.source import MultiViewSource
    from dimvida.evaluation.views import Score, ViewScores
    from dimvida.sampling.multiview import MultiViewModel


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

    source = _open(data, split)
    model = load(checkpoint, resolve_device(device))
    settings = resolve_settings(model, steps=steps, solver=solver, seed=seed, batch=batch, backend=backend, dtype=dtype)
    counts = numbers or tuple(range(1, len(model.view_names)))
    trajectories = sum(len(subsets(len(model.view_names), count)) for count in counts)
    objects, bad = _load(source, model, limit)
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
        _write_json(json_, result)
    if bad and not skip_bad:
        raise DimvidaError(
            f"{len(bad)} files cannot be read and their objects were left out; the first: {bad[0].location}: "
            f"{bad[0].reason} (not an error with --skip-bad)"
        )
    return 0


def _open(path: Path, split: str | None) -> MultiViewSource:
    from dimvida.data.opening import open_source

    source = open_source(path, split=split)
    return open_source(path, split="test") if split is None and "test" in source.splits else source


def _load(source: MultiViewSource, model: MultiViewModel, limit: int | None) -> tuple[MultiViewBatch, list[BadFile]]:
    from dimvida.evaluation.objects import load_complete

    total = min(limit or len(source), len(source))
    with ProgressBar("reading", total, "objects") as bar:
        objects, bad, notes = load_complete(
            source, model.view_names, model.image_size, limit=limit, progress=bar.update
        )
    for note in (*source.notes, *notes):
        print(f"note: {note}")
    return objects, bad


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


def _write_json(path: Path, result: dict[str, object]) -> None:
    from dimvida.files import atomic_write

    try:
        atomic_write(path, json.dumps(result, indent=1) + "\n")
    except OSError as error:
        raise InputError(f"--json {path}: cannot be written ({error.strerror or error})") from error
