"""``dimvida classify``: whether generated views improve classification."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dimvida.cli import options
from dimvida.cli.evaluation_data import print_judge
from dimvida.cli.options import command_line, option, parse_names, parse_numbers, require_readable, resolve_device
from dimvida.cli.progress import announce, watcher
from dimvida.cli.terminal import note, print_table
from dimvida.data.sample import locate, require_apart
from dimvida.errors import InputError
from dimvida.files import require_writable_folder
from dimvida.torchrun import is_rank

if TYPE_CHECKING:
    from dimvida.classification.cache import CompletedObjects
    from dimvida.classification.design import StudyCell, StudyDesign
    from dimvida.classification.study import Study, TrainedClassifiers
    from dimvida.results.schema import ClassificationResult
    from dimvida.training.config import TrainConfig


def classify(
    context: typer.Context,
    data: options.Data,
    out: options.ContinuedOut,
    checkpoint: options.Checkpoint = "bundled",
    partition: options.StudyPartition = None,
    split: options.DividedSplit = None,
    column: options.Column = None,
    nmr_views: options.NmrViews = None,
    c_share: Annotated[
        float, option(options.DATA, "... into c and e; share of c, default 0.5.", "--c-share", metavar="F")
    ] = 0.5,
    classes: options.Classes = None,
    limit: options.PartLimit = None,
    classifiers: options.Classifiers = "resnet18,mobilenet-v3-large",
    weights: options.Weights = None,
    preset: options.Preset = "small",
    set_: options.Set = None,
    seeds: options.Seeds = 3,
    seed: options.FirstSeed = 0,
    budget: Annotated[
        str, option(options.TRAINING, "Equal steps (default), epochs or both.", metavar="NAME")
    ] = "steps",
    average: Annotated[
        str, option(options.TRAINING, "probabilities (default), logits, confidence.", metavar="NAME")
    ] = "probabilities",
    beyond: options.Beyond = None,
    samples_per_view: Annotated[
        int, option(options.TRAINING, "Most in the table of samples; default 4.", metavar="K")
    ] = 4,
    sampler_steps: Annotated[
        str | None, option(options.TRAINING, "Those in the table of steps; default: four.", metavar="LIST")
    ] = None,
    judge_: Annotated[
        Path | None, option(options.MODEL, "A classifier; default: trained on d.", "--judge", metavar="DIR")
    ] = None,
    steps: options.Steps = None,
    solver: options.Solver = None,
    backend: options.Backend = "auto",
    dtype: options.DType = "auto",
    device: options.Device = "auto",
    batch: options.Batch = 256,
    minutes: options.Minutes = 0,
    skip_bad: options.SkipBad = False,
) -> int:
    """Do generated views improve classification?

    Trains on c (one view of each object) and ca (with generated ones), tests
    on e and ea. --beyond: averaging,samples,augmentation,views,steps.
    """
    from dimvida.classification.cache import Sampler
    from dimvida.classification.objects import assign_roles
    from dimvida.classification.study import Study, check_folder
    from dimvida.data.columns import parse_columns
    from dimvida.data.nmr_arrays import parse_nmr_views
    from dimvida.diffusion.solvers import step_table
    from dimvida.generation.settings import resolve_settings
    from dimvida.models.classifier_checkpoint import load_classifier
    from dimvida.results.classification import printed_tables
    from dimvida.sampling.multiview import load
    from dimvida.training.config import load_preset
    from dimvida.training.control import Interrupt

    # What is asked, and whether it can be: options, places, given files, and who has seen which object.
    if is_rank():
        raise InputError("classify runs in one process; start it without torchrun")
    _require_numbers(seeds, seed, limit, minutes)
    config = dataclasses.replace(load_preset(preset, set_ or []), seed=seed)
    numbers = range(seed, seed + seeds)
    design = _design(config, classifiers, weights, numbers, budget, average, beyond, samples_per_view, sampler_steps)
    require_apart(locate(data), out, around=True)
    require_writable_folder("--out", out)
    check_folder(out)
    judge = None if judge_ is None else load_classifier(judge_)
    model = load(checkpoint, resolve_device(device))
    settings = resolve_settings(model, steps=steps, solver=solver, seed=seed, batch=batch, backend=backend, dtype=dtype)
    sampler = Sampler(settings.solver, settings.steps, seed, settings.backend, settings.dtype, settings.batch)
    design = design.with_sampler_steps(sampler.steps)
    for count in design.sampler_steps:
        step_table(sampler.solver, count)  # raises for what it cannot do
    if judge is not None:
        print_judge(judge, judge_, model.image_size)
    chosen = {"partition": partition, "split": split, "columns": parse_columns(column)}
    chosen |= {"nmr_views": parse_nmr_views(nmr_views)}
    chosen |= {"classes": parse_names("--classes", classes), "c_share": c_share, "seed": seed}
    roles = assign_roles(data, model.config.provenance, **chosen)

    with Interrupt(minutes, announce) as interrupt, contextlib.ExitStack() as bars:
        lines = {"say": _below(bars, functools.partial(print, flush=True)), "note": _below(bars, note)}
        study = Study(
            out, roles, model, sampler, config, design, watcher(bars), interrupt, **lines, judge=judge, limit=limit
        )
        result = _carry_out(study, {"command": command_line(context), "data": data.name})
    if result is None:
        return 0
    for table in printed_tables(result):
        print_table(table)
    print(f"results: {out / result.file}")
    if not skip_bad:
        require_readable([*roles.e.left_out, *study.bad])
    return 0


def _carry_out(study: Study, about: dict[str, Any]) -> ClassificationResult | None:
    """Read, generate, judge the generator, train, ask, compare; what is done already is not done again.

    Returns None where it was interrupted before its end.
    """
    from dimvida.classification.design import study_cells
    from dimvida.classification.verdict import cell_result, compare, verdict
    from dimvida.results.files import software_versions, write_result
    from dimvida.results.schema import ClassificationResult
    from dimvida.training.control import Interrupted

    try:
        with study.owned():
            c, e = study.read("c", study.roles.c), study.read("e", study.roles.e)
            ca, ea = study.complete("ca", c), study.complete("ea", e)
            coherence = study.measure_coherence(ca)
            study.say(verdict(coherence))
            for line in study.notes():
                study.note(line)
            cells = study_cells(study.design, len(study.model.view_names), study.sampler.steps)
            runs = _train_classifiers(study, cells, ca)
            first, classes = study.design.seeds[0], study.roles.c.classes
            predictions = {cell: study.predict(cell, runs, ea) for cell in cells}
            result = ClassificationResult(
                **about,
                versions=software_versions(),
                **study.facts(c, e, coherence),
                cells=[
                    cell_result(cell, runs[cell.recipe, first].plan.config.steps, labels, e.labels, len(classes))
                    for cell, labels in predictions.items()
                ],
                comparisons=compare(predictions, e.labels),
                diversity=study.diversity(runs, ea),
            )
            write_result(study.folder / ClassificationResult.file, result)
    except Interrupted:
        study.say("stopped; the same command continues")
        if study.interrupt.signal == signal.SIGINT:
            raise KeyboardInterrupt from None  # so that whoever called learns of it, as from any other command
        return None
    return result


def _train_classifiers(study: Study, cells: Sequence[StudyCell], ca: CompletedObjects) -> TrainedClassifiers:
    """Train each recipe with each seed, unless it is."""
    from dimvida.classification.objects import training_set
    from dimvida.classification.study import TRAINED
    from dimvida.training.classifier import ClassifierPlan, ClassifierRun

    c, classes, runs = ca.objects, study.roles.c.classes, {}
    recipes = dict.fromkeys(cell.recipe for cell in cells)
    trainings = list(itertools.product(recipes, study.design.seeds))
    for number, (recipe, seed) in enumerate(trainings, 1):
        stage = recipe.stage(study.config.classifier_stage, len(c), len(c.view_names))
        plan = ClassifierPlan(recipe.classifier, stage, seed, recipe.weights)
        data = c.digest + "".join(f"\0{name}" for name in classes)
        if recipe.augmented:  # Omega_s does not know of the generator: another checkpoint leaves it as it is
            data = f"{data} {ca.digest} {recipe.draws}"
        name, place = f"{recipe.classifier}-{recipe.train}-seed{seed}", study.folder / TRAINED
        run = ClassifierRun.named(place, name, plan, data, study.model.device, study.interrupt)
        if not run.finished():
            drawn = range(recipe.draws if recipe.augmented else 0)
            draws = [ca.draw(draw, study.watch, study.interrupt) for draw in drawn]
            pictures = training_set(recipe, c, draws, classes)
            run.train(pictures, study.watch, f"{recipe.classifier} on {recipe.train}, {number} of {len(trainings)}")
        runs[recipe, seed] = run
    return runs


def _design(
    config: TrainConfig,
    classifiers: str,
    weights: list[str] | None,
    seeds: range,
    budget: str,
    average: str,
    beyond: str | None,
    samples_per_view: int,
    sampler_steps: str | None,
) -> StudyDesign:
    from dimvida.classification.design import StudyDesign

    names = parse_names("--classifiers", classifiers) or ()
    design = StudyDesign(
        classifiers=names,
        weights=options.parse_weights(weights, names),
        seeds=tuple(seeds),
        budgets=("steps", "epochs") if budget == "both" else (budget,),
        average=average,
        beyond=options.parse_beyond(beyond),
        samples_per_view=samples_per_view,
        sampler_steps=parse_numbers("--sampler-steps", sampler_steps) or (),
    )
    if "augmentation" in design.beyond and config.classifier_stage.augment != "none":
        raise InputError("--beyond augmentation: compares with none; leave out --set classifier_stage.augment")
    return design


def _below(bars: contextlib.ExitStack, show: Callable[[str], object]) -> Callable[[str], None]:
    """Shows a line after the last bar, which would be drawn through it."""

    def line(text: str) -> None:
        bars.close()
        show(text)

    return line


def _require_numbers(seeds: int, seed: int, limit: int | None, minutes: float) -> None:
    if seeds < 1 or seed < 0:
        raise InputError(f"--seeds {seeds}, --seed {seed}: must be at least 1 and 0")
    if limit is not None and limit < 2:
        raise InputError(f"--limit {limit}: must be at least 2")
    if not minutes >= 0:
        raise InputError(f"--minutes {minutes:g}: must not be negative")
