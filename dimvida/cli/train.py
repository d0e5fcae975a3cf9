"""``dimvida train``: resolves the options, reads the data, and has ``dimvida.training.run`` train on them.

``--stage classifier`` has ``dimvida.training.classifier`` do it instead.
"""

from __future__ import annotations

import contextlib
import signal
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dimvida.cli import options
from dimvida.cli.options import command_line, parse_names, require_readable, resolve_device
from dimvida.cli.progress import ProgressBar, announce, watcher
from dimvida.cli.terminal import note
from dimvida.data.names import counted
from dimvida.data.sample import locate, require_apart
from dimvida.errors import DimvidaError, InputError
from dimvida.files import require_writable_folder
from dimvida.results.metrics import ACCURACY
from dimvida.torchrun import is_rank

if TYPE_CHECKING:
    import torch

    from dimvida.data.batch import BadFile, MultiViewBatch
    from dimvida.data.source import MultiViewSource
    from dimvida.models.checkpoint import Checkpoint
    from dimvida.training.classifier import ClassifierRun
    from dimvida.training.control import Interrupt
    from dimvida.training.data import LabelledImages, TrainingData
    from dimvida.training.options import TrainOptions
    from dimvida.training.run import Run

FILES_SHOWN = 20  # on the screen; run.json lists all

Data = Annotated[Path | None, typer.Option(metavar="PATH", help="A folder, a zip, or NMR; --resume knows it.")]
Preset = Annotated[str | None, typer.Option(metavar="NAME", help="paper, base, small (default) or tiny.")]
Stage = Annotated[str | None, typer.Option(metavar="NAME", help="all (default), autoencoder, diffusion, classifier.")]
Resume = Annotated[bool, typer.Option("--resume", help="Continue where this run stopped; it knows its other options.")]
ConfigFile = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="TOML whose values replace the preset's.")
]
Classifier = Annotated[
    str | None, typer.Option(metavar="NAME", help="What --stage classifier trains; default: resnet18.")
]
Weights = Annotated[str | None, typer.Option(metavar="FILE", help="Its first weights; or 'imagenet'.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be trained; write nothing.")]
TensorBoard = Annotated[bool, typer.Option("--tensorboard", help="Also write curves for TensorBoard.")]
Workers = Annotated[int | None, typer.Option(metavar="N", min=0, help="Processes that augment images.")]


def train(
    context: typer.Context,
    out: options.Out,
    data: Data = None,
    preset: Preset = None,
    stage: Stage = None,
    resume: Resume = False,
    split: options.TrainSplit = None,
    partition: options.TrainPartition = None,
    column: options.Column = None,
    nmr_views: options.NmrViews = None,
    classes: options.Classes = None,
    limit: options.Limit = None,
    skip_bad: options.SkipBad = False,
    set_: options.Set = None,
    config_file: ConfigFile = None,
    init: options.Init = None,
    classifier: Classifier = None,
    weights: Weights = None,
    minutes: options.Minutes = 0,
    dry_run: DryRun = False,
    tensorboard: TensorBoard = False,
    workers: Workers = None,
    device: options.Device = "auto",
) -> int:
    """Train an autoencoder, then the diffusion over its latents; or a classifier.

    Ctrl-C and SIGTERM save everything; --resume with the same --out goes on exactly.
    """
    from dimvida.results.files import CLASSIFIER, software_versions
    from dimvida.training.control import Interrupt
    from dimvida.training.options import resolve_options
    from dimvida.training.ranks import together
    from dimvida.training.run import Run

    if not minutes >= 0:
        raise InputError(f"--minutes {minutes:g}: must not be negative")
    torch_device = resolve_device(device)
    with together(torch_device) as ranks:
        pictures = {"data": data, "split": split, "partition": partition, "column": column, "nmr_views": nmr_views}
        objects = {"classes": classes, "limit": limit, "skip_bad": skip_bad}
        numbers = {"preset": preset, "overrides": set_ or [], "config_file": config_file}
        networks = {"stage": stage, "init": init, "classifier": classifier, "weights": weights}
        given = {**pictures, **objects, **numbers, **networks, "tensorboard": tensorboard}
        asked = ranks.broadcast_from_rank_0(partial(resolve_options, out, resume=resume, **given))
        origin = {"command": command_line(context), "versions": software_versions(), "options": asked.to_dict()}
        if asked.stage == CLASSIFIER:
            if dry_run:
                raise InputError("--dry-run tells of the other stages; --stage classifier trains one network")
            return _train_classifier(asked, out, torch_device, origin, minutes=minutes, resume=resume)
        start, training_data = ranks.broadcast_from_rank_0(lambda: _prepare(asked, out, resume))
        if dry_run:
            return _print_forecast(asked, training_data, out) if ranks.is_rank_0 else 0
        report = announce if ranks.is_rank_0 else None
        with Interrupt(minutes, report) as interrupt, contextlib.ExitStack() as bars:
            run = Run(
                out,
                asked.config,
                training_data,
                torch_device,
                watcher(bars),
                interrupt,
                init=start,
                ranks=ranks,
                workers=workers,
                tensorboard=asked.tensorboard,
                origin=origin,
            )
            finished = run.train(asked.stage, resume)
        if ranks.is_rank_0:
            print(_outcome(run, asked.stage, finished))
        if not finished:
            _pass_on_ctrl_c(interrupt)
        elif training_data.skipped and not asked.skip_bad:
            raise _unreadable(training_data, out)
    return 0


def _prepare(asked: TrainOptions, out: Path, resume: bool) -> tuple[Checkpoint | None, TrainingData]:
    """What the training starts from and what it trains on. What would be refused is refused before data are read."""
    from dimvida.data.partitions import load_partitions
    from dimvida.models.checkpoint import load_checkpoint
    from dimvida.training.data import cameras_like, prepare_data
    from dimvida.training.figures import require_tensorboard
    from dimvida.training.folder import RunFolder
    from dimvida.training.options import changed_lengths, require_same_options

    if asked.tensorboard:
        require_tensorboard()
    start = load_checkpoint(asked.init) if asked.init is not None else None
    _require_place(asked, out, resume)
    folder = RunFolder(out)
    folder.check(asked.stages, resume=resume, init=None if start is None else start.digest)
    if resume:
        require_same_options(folder, asked.config)
        known = folder.description()
        for change in changed_lengths(known.configuration, asked.config) if known else ():
            note(change)
    sizes = asked.config.autoencoder
    batch, source, bad, description = _read(asked, sizes.channels, "; run.json lists all")
    description["partition_sha256"] = asked.partition and load_partitions(asked.partition).digest()
    cameras = source.cameras
    if cameras is None and start is not None and start.score.is_trained and asked.config.takes_cameras:
        cameras = cameras_like(start.config, source.view_names)
        if cameras is not None:
            note("the data have no cameras: their views are taken for those of --init with the same names")
    training_data = prepare_data(batch, source.classes, asked.config, description, bad, cameras)
    for text in training_data.notes:
        note(text)
    return start, training_data


def _train_classifier(
    asked: TrainOptions, out: Path, device: torch.device, origin: dict[str, Any], *, minutes: float, resume: bool
) -> int:
    """Train a classifier on every view of the training data into ``out/classifier``."""
    from dimvida.models.classifiers import ClassifierConfig
    from dimvida.results.files import CLASSIFIER
    from dimvida.training.classifier import ClassifierPlan, ClassifierRun
    from dimvida.training.control import Interrupt, Interrupted
    from dimvida.training.data import all_views

    if is_rank():
        raise InputError("--stage classifier trains in one process; start it without torchrun")
    config = asked.config
    plan = ClassifierPlan(asked.classifier, config.classifier_stage, config.seed, asked.weights)
    ClassifierConfig(plan.name, ("any", "other"))  # before the data are read: is there such a classifier?
    _require_place(asked, out, resume)
    batch, source, bad, description = _read(asked, 3)
    images = all_views(batch, source.classes, config.validation, config.seed, description)
    origin = {**origin, "configuration": config.to_dict()}
    with Interrupt(minutes, announce) as interrupt, contextlib.ExitStack() as bars:
        run = ClassifierRun(out / CLASSIFIER, plan, plan.digest(images.digest()), device, interrupt, origin)
        run.check(resume=resume)
        try:
            run.train(images, watcher(bars))
        except Interrupted:
            bars.close()
            print("stopped; continue with --resume")
            _pass_on_ctrl_c(interrupt)
            return 0
    print(f"classifier: {run.folder}{_accuracy(run, images)}")
    if not asked.skip_bad:
        require_readable(bad)
    return 0


def _require_place(asked: TrainOptions, out: Path, resume: bool) -> None:
    if not resume:
        require_apart(locate(asked.data), out, around=True)
    require_writable_folder("--out", out)


def _read(
    asked: TrainOptions, channels: int, listed: str = ""
) -> tuple[MultiViewBatch, MultiViewSource, list[BadFile], dict[str, Any]]:
    """Read the data with a bar: objects, their source, files that cannot be read, what the provenance says.

    ``listed`` says where more of those files are named than are shown.
    """
    from dimvida.data.batch import load_all
    from dimvida.data.columns import parse_columns
    from dimvida.data.nmr_arrays import parse_nmr_views
    from dimvida.data.partitions import first, of_classes
    from dimvida.training.data import open_for_training

    chosen = parse_columns(asked.column), parse_nmr_views(asked.nmr_views)
    source, split = open_for_training(asked.data, asked.split, asked.partition, *chosen)
    source = first(of_classes(source, parse_names("--classes", asked.classes)), asked.limit)
    with ProgressBar("reading", len(source), "objects") as bar:
        size = asked.config.autoencoder.image_size
        batch, bad, notes = load_all(source, image_size=size, channels=channels, progress=bar.update)
        for file in bad[:FILES_SHOWN]:
            bar.message(f"skipped {file.location}: {file.reason}")
        if len(bad) > FILES_SHOWN:
            bar.message(f"skipped {len(bad) - FILES_SHOWN} more{listed}")
    for text in (*source.notes, *notes):
        note(text)
    description = {
        "name": asked.data.name,
        "form": source.form,
        "split": split,
        "partition": asked.partition and asked.partition.name,
    }
    return batch, source, [*source.left_out, *bad], description


def _print_forecast(asked: TrainOptions, data: TrainingData, out: Path) -> int:
    from dimvida.training.costs import forecast

    for line in forecast(asked.config, data, asked.stages):
        print(line)
    print(f"nothing was written; without --dry-run it would go to {out}")
    return 0


def _outcome(run: Run, stage: str, finished: bool) -> str:
    checkpoint = run.folder.checkpoint
    if finished:
        hint = " (the score network is not trained yet; next: --stage diffusion)" if stage == "autoencoder" else ""
        return f"checkpoint: {checkpoint}{hint}"
    if not checkpoint.exists():
        return "stopped; continue with --resume"
    hint = "" if run.generates else " (the score network is not trained yet)"
    return f"stopped; continue with --resume; checkpoint so far: {checkpoint}{hint}"


def _accuracy(run: ClassifierRun, images: LabelledImages) -> str:
    from dimvida.models.classifier_checkpoint import read_description

    accuracy = read_description(run.folder)["provenance"]["validation"]["accuracy"]
    return f" ({ACCURACY.quantity(accuracy)} of the {len(images.held_out)} views of held-out objects right)"


def _unreadable(data: TrainingData, out: Path) -> DimvidaError:
    first = data.skipped[0]
    return DimvidaError(
        f"{counted(len(data.skipped), 'input file')} cannot be read and were left out, see {out / 'run.json'}; the "
        f"first: {first.location}: {first.reason} (not an error with --skip-bad)"
    )


def _pass_on_ctrl_c(interrupt: Interrupt) -> None:
    """After everything was saved: so that whoever called learns of it, as from any other command."""
    if interrupt.signal == signal.SIGINT:
        raise KeyboardInterrupt from None
