"""``dimvida classify``: whether generated views improve classification."""

from __future__ import annotations

import contextlib
import dataclasses
import signal
from pathlib import Path
from typing import Annotated

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


def classify(
    context: typer.Context,
    data: options.Data,
    out: options.ContinuedOut,
    checkpoint: options.Checkpoint = "bundled",
    partition: options.StudyPartition = None,
    split: options.DividedSplit = None,
    column: options.Column = None,
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
    samples_per_view: Annotated[int, option(options.TRAINING, "Of samples: most; default 4.", metavar="K")] = 4,
    sampler_steps: Annotated[
        str | None, option(options.TRAINING, "Of steps: which; default: four.", metavar="LIST")
    ] = None,
    judge_: Annotated[
        Path | None, option(options.MODEL, "Its classifier; default: made of d.", "--judge", metavar="DIR")
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
    from dimvida.classification.design import StudyDesign
    from dimvida.classification.objects import assign_roles
    from dimvida.classification.run import Study, check_folder
    from dimvida.data.columns import parse_columns
    from dimvida.diffusion.solvers import step_table
    from dimvida.generation.settings import resolve_settings
    from dimvida.models.classifier_checkpoint import load_classifier
    from dimvida.results.classification import printed_tables
    from dimvida.results.files import software_versions
    from dimvida.sampling.multiview import load
    from dimvida.training.config import load_preset
    from dimvida.training.control import Interrupt, Interrupted

    # What is asked, and whether it can be: options, places, given files, and who has seen which object.
    if is_rank():
        raise InputError("classify runs in one process; start it without torchrun")
    _require_numbers(seeds, seed, limit, minutes)
    names = parse_names("--classifiers", classifiers) or ()
    design = StudyDesign(
        classifiers=names,
        weights=options.parse_weights(weights, names),
        seeds=tuple(range(seed, seed + seeds)),
        budgets=("steps", "epochs") if budget == "both" else (budget,),
        average=average,
        beyond=options.parse_beyond(beyond),
        samples_per_view=samples_per_view,
        sampler_steps=parse_numbers("--sampler-steps", sampler_steps) or (),
    )
    config = dataclasses.replace(load_preset(preset, set_ or []), seed=seed)
    if "augmentation" in design.beyond and config.classifier_stage.augment != "none":
        raise InputError("--beyond augmentation: compares with none; leave out --set classifier_stage.augment")
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
    roles = assign_roles(
        data,
        model.config.provenance,
        partition=partition,
        split=split,
        columns=parse_columns(column),
        classes=parse_names("--classes", classes),
        c_share=c_share,
        seed=seed,
    )

    with Interrupt(minutes, announce) as interrupt, contextlib.ExitStack() as bars:

        def say(line: str) -> None:
            bars.close()  # a bar would be drawn through it
            print(line, flush=True)

        def tell(line: str) -> None:
            bars.close()
            note(line)

        study = Study(
            out,
            roles,
            model,
            sampler,
            config,
            design,
            watcher(bars),
            interrupt,
            say=say,
            note=tell,
            judge=judge,
            limit=limit,
        )
        about = {"command": command_line(context), "versions": software_versions(), "data": data.name}
        try:
            results = study.run(about)
        except Interrupted:
            say("stopped; the same command continues")
            if interrupt.signal == signal.SIGINT:
                raise KeyboardInterrupt from None  # so that whoever called learns of it, as from any other command
            return 0

    for table in printed_tables(results):
        print_table(table)
    print(f"results: {out / 'classification.json'}")
    if not skip_bad:
        require_readable([*roles.e.left_out, *study.bad])
    return 0


def _require_numbers(seeds: int, seed: int, limit: int | None, minutes: float) -> None:
    if seeds < 1 or seed < 0:
        raise InputError(f"--seeds {seeds}, --seed {seed}: must be at least 1 and 0")
    if limit is not None and limit < 2:
        raise InputError(f"--limit {limit}: must be at least 2")
    if not minutes >= 0:
        raise InputError(f"--minutes {minutes:g}: must not be negative")
