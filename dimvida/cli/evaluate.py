"""``dimvida evaluate``: generated views scored against the true ones, by number of known views."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dimvida.cli import options
from dimvida.cli.evaluation_data import open_for_evaluation, print_judge, read_objects
from dimvida.cli.options import command_line, option, parse_names, parse_numbers, require_readable, resolve_device
from dimvida.cli.progress import ProgressBar
from dimvida.cli.terminal import print_note, print_table, print_wrapped
from dimvida.data.sample import locate, require_apart
from dimvida.errors import DimvidaError, InputError, require_choice
from dimvida.files import require_writable_file, require_writable_folder
from dimvida.results.metrics import METRICS

if TYPE_CHECKING:
    from dimvida.data.batch import MultiViewBatch
    from dimvida.data.source import MultiViewSource
    from dimvida.evaluation.metrics import MetricSet
    from dimvida.generation.settings import GenerationSettings
    from dimvida.models.classifiers import ImageClassifier
    from dimvida.results.schema import EvaluationResult, Scores
    from dimvida.sampling.multiview import MultiViewModel

BREAKDOWNS = ("view", "class")

Known = Annotated[str | None, option(options.SCORES, "How many are known, as 1,2; else any.", metavar="LIST")]
Subsets = Annotated[int, option(options.SCORES, "More sets are sampled.", min=1, metavar="N")]
Metrics = Annotated[str | None, option(options.SCORES, "Default: all that can be had.", metavar="LIST")]
Judge = Annotated[Path | None, option(options.SCORES, "For coherence, feature_frechet.", "--judge", metavar="DIR")]
By = Annotated[str | None, option(options.SCORES, "Also print tables by view,class.", metavar="LIST")]
OutWithSheets = Annotated[Path | None, option(options.OUTPUT, "Here, with contact sheets.", "--out", metavar="DIR")]


def evaluate(
    context: typer.Context,
    data: options.Data,
    checkpoint: options.Checkpoint = "bundled",
    split: options.TestSplit = None,
    column: options.Column = None,
    nmr_views: options.NmrViews = None,
    partition: options.TestPartition = None,
    chosen_classes: options.Classes = None,
    limit: options.SpreadLimit = None,
    known: Known = None,
    subsets: Subsets = 100,
    metrics: Metrics = None,
    judge_: Judge = None,
    inception_weights: options.InceptionWeights = None,
    lpips_weights: options.LpipsWeights = None,
    steps: options.Steps = None,
    solver: options.Solver = None,
    seed: options.Seed = 0,
    backend: options.Backend = "auto",
    dtype: options.DType = "auto",
    device: options.Device = "auto",
    batch: options.Batch = 256,
    by: By = None,
    json_: options.Json = None,
    out: OutWithSheets = None,
    overwrite: options.Overwrite = False,
    skip_bad: options.SkipBad = False,
) -> int:
    """Score generated views against the true ones, by number of known views.

    Metrics: {metrics}.
    Every set of k views is given in turn. The row 'ceiling' is the
    autoencoder's reconstruction. Use objects that the model was not trained
    on. What cannot be measured is left out, with the reason.
    """
    from dimvida.data.partitions import of_classes
    from dimvida.evaluation.folder import draw_sheets, write_evaluation
    from dimvida.evaluation.metrics import build_metrics
    from dimvida.evaluation.objects import complete_objects, count_subsets, evaluated_views
    from dimvida.evaluation.protocol import evaluate_model
    from dimvida.generation.settings import resolve_settings
    from dimvida.results.files import software_versions, write_json
    from dimvida.results.schema import EvaluationResult, SkippedInput
    from dimvida.sampling.multiview import load

    # What is quickly told comes first: options, places, given files, which views there are.
    numbers, breakdowns = _parse_known(known), _parse_choice("--by", by, BREAKDOWNS) or ()
    wanted = _parse_choice("--metrics", metrics, tuple(METRICS)) or tuple(METRICS)
    _require_places(data, json_, out, overwrite=overwrite)
    source = open_for_evaluation(data, split, partition, column, nmr_views)
    source = of_classes(source, parse_names("--classes", chosen_classes), keep_labels=True)  # which the judge knows
    model = load(checkpoint, resolve_device(device))
    settings = resolve_settings(model, steps=steps, solver=solver, seed=seed, batch=batch, backend=backend, dtype=dtype)
    views, cameras = evaluated_views(model, source)
    counts = numbers or tuple(range(1, len(views)))
    rounds = 2 + count_subsets(len(views), counts, subsets)  # first the true views, and their reconstruction
    complete = complete_objects(source, views, by_camera=model.cameras is not None)
    _require_weights(lpips_weights, inception_weights)
    judge = judge_ and _load_judge(judge_, source.classes)

    # Then the pictures, and only then the weights that have to be downloaded.
    objects, bad = read_objects(source, model, limit, views)
    strange = _introduce(model, source, objects, settings, data.name)
    if judge is not None:
        print_judge(judge, judge_, model.image_size)
    weights = {"inception_weights": inception_weights, "lpips_weights": lpips_weights, "classifier": judge}
    measured = _require_any(build_metrics(model.image_size, source.classes, model.device, names=wanted, **weights))

    # Every set of known views is given in turn, and what is generated is scored against the true views.
    sampling = {"cameras": cameras, **settings.sampling}
    score = partial(evaluate_model, model, objects, source.classes, measured, counts, batch=batch, most_subsets=subsets)
    with ProgressBar("evaluating", rounds * len(objects), "objects") as bar:
        evaluation = score(progress=bar.advance, introduce=partial(_introduce_judge, bar), **sampling)

    result = EvaluationResult(
        command=command_line(context),
        versions=software_versions(),
        **_facts(model, source, objects, settings, judge),
        partition=partition and partition.name,
        left_out=len(source) - len(complete),
        unfamiliar=strange,
        metrics=measured.to_result(),
        **evaluation.to_result(),
        skipped=[SkippedInput(file.location, file.reason) for file in bad],
    )
    _print(result, breakdowns)
    if json_ is not None:
        write_json(json_, result)
    if out is not None:
        write_evaluation(out, result, draw_sheets(model, objects, source.classes, evaluation, **sampling))
    if not skip_bad:
        require_readable(bad)
    return 0


evaluate.__doc__ = (evaluate.__doc__ or "").format(metrics=", ".join(METRICS))  # for --help; the registry has them


def _parse_known(text: str | None) -> tuple[int, ...] | None:
    try:
        return parse_numbers("--known", text)
    except InputError as error:
        raise InputError(f"{error}; every set of so many views is given in turn, so views have no names here") from None


def _parse_choice(option: str, text: str | None, choices: Sequence[str]) -> tuple[str, ...] | None:
    names = parse_names(option, text)
    for name in names or ():
        require_choice(option, name, choices)
    return names


def _require_places(data: Path, json: Path | None, out: Path | None, *, overwrite: bool) -> None:
    from dimvida.evaluation.folder import require_free

    require_writable_file("--json", json)
    if out is not None:
        require_free(out, overwrite=overwrite)
        require_apart(locate(data), out, around=True)
        require_writable_folder("--out", out)


def _require_weights(lpips: Path | None, inception: Path | None) -> None:
    from dimvida.evaluation.weights import INCEPTION, SQUEEZENET, require_given

    require_given(SQUEEZENET, lpips)
    require_given(INCEPTION, inception)


def _load_judge(folder: Path, classes: tuple[str, ...]) -> ImageClassifier:
    from dimvida.models.classifier_checkpoint import load_classifier
    from dimvida.models.classifiers import require_known

    judge = load_classifier(folder)
    require_known(classes, judge.classes, f"--judge {folder}")
    return judge


def _introduce(
    model: MultiViewModel, source: MultiViewSource, objects: MultiViewBatch, settings: GenerationSettings, name: str
) -> list[str]:
    """Say what is evaluated on what; returns in what the objects are unlike those that the model was trained on."""
    from dimvida.evaluation.objects import unfamiliar

    strange = unfamiliar(model, objects, source.classes)
    splits = ", ".join(source.splits) or "no split"
    shown = f"{len(objects)} objects of {name} ({splits})"
    print(f"{shown}, {settings.solver}, {settings.steps} steps, seed {settings.seed}", flush=True)
    print_wrapped(f"views: {', '.join(objects.view_names)}")
    for line in strange:
        print_note(line)
    return strange


def _introduce_judge(bar: ProgressBar, reference: Scores) -> None:
    if "coherence" in reference:
        share = METRICS["coherence"].quantity(reference["coherence"].mean)
        bar.message(f"judge: sees the class of {share} of the true views")


def _facts(
    model: MultiViewModel,
    source: MultiViewSource,
    objects: MultiViewBatch,
    settings: GenerationSettings,
    judge: ImageClassifier | None,
) -> dict[str, Any]:
    """What was evaluated on what, and how, by the names of ``EvaluationResult``."""
    from dimvida.results.schema import JudgeFacts

    return {
        "data": Path(source.path).name,
        "splits": list(source.splits),
        "classes": list(source.classes),
        "view_names": list(objects.view_names),
        "checkpoint": model.checkpoint_hash,
        **{name: getattr(settings, name) for name in ("solver", "steps", "seed", "dtype", "backend")},
        "objects": len(objects),
        "judge": judge and JudgeFacts(judge.config.name, list(judge.config.classes), judge.config.image_size or None),
    }


def _print(result: EvaluationResult, breakdowns: Sequence[str]) -> None:
    """Tables, then notes on how to read them."""
    from dimvida.results.evaluation import breakdown_tables, notes, score_tables, unavailable

    for table in score_tables(result):
        print_table(table)
    for table in breakdown_tables(result, "angle") if result.per_angle else ():
        print_table(table)
    for part in BREAKDOWNS:
        for table in breakdown_tables(result, part) if part in breakdowns else ():
            print_table(table)
    for line in notes(result):
        print_note(line)
    for name, reason in unavailable(result).items():
        print_wrapped(f"not available: {name}: {reason}")


def _require_any(metrics: MetricSet) -> MetricSet:
    if not metrics.available:
        name, reason = next(iter(metrics.reasons.items()))
        raise DimvidaError(f"no metric can be measured; {name}: {reason}")
    return metrics
