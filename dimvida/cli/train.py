"""``dimvida train``."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dimvida.cli import options
from dimvida.cli.options import resolve_device
from dimvida.cli.output import command_line, software_versions
from dimvida.cli.progress import ProgressBar, announce, watcher
from dimvida.cli.terminal import note
from dimvida.cli.training_data import open_for_training
from dimvida.data.names import counted
from dimvida.data.sample import locate, require_apart
from dimvida.errors import DimvidaError, InputError
from dimvida.files import require_writable_folder

if TYPE_CHECKING:
    from dimvida.cli.train_options import TrainOptions
    from dimvida.data.batch import BadFile
    from dimvida.models.checkpoint import Checkpoint
    from dimvida.training.config import TrainConfig
    from dimvida.training.data import TrainingData
    from dimvida.training.folder import RunFolder
    from dimvida.training.run import Run

SKIPS_SHOWN = 20  # on the screen; run.json lists all


def train(
    context: typer.Context,
    out: options.Out,
    data: Annotated[
        Path | None, typer.Option(metavar="PATH", help="A folder, a zip, or NMR; --resume knows it.")
    ] = None,
    preset: Annotated[str | None, typer.Option(metavar="NAME", help="paper, small (default) or tiny.")] = None,
    stage: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="all (default), autoencoder, diffusion, classifier."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue where this run stopped; it knows its other options.")
    ] = False,
    split: options.SplitOrDefault = None,
    partition: options.Partition = None,
    skip_bad: options.SkipBad = False,
    set_: options.Set = None,
    config_file: Annotated[
        Path | None, typer.Option("--config", metavar="FILE", help="TOML whose values replace the preset's.")
    ] = None,
    init: options.Init = None,
    classifier: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="What --stage classifier trains; default: resnet18."),
    ] = None,
    weights: Annotated[str | None, typer.Option(metavar="FILE", help="Its first weights; or 'imagenet'.")] = None,
    minutes: options.Minutes = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be trained; write nothing.")] = False,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Also write curves for TensorBoard.")] = False,
    workers: Annotated[int | None, typer.Option(metavar="N", min=0, help="Processes that augment images.")] = None,
    device: options.Device = "auto",
) -> int:
    """Train an autoencoder, then the diffusion over its latents; or a classifier.

    Ctrl-C and SIGTERM save everything; --resume with the same --out goes on exactly.
    """
    from dimvida.cli.train_options import resolve_options
    from dimvida.training.control import Interrupt
    from dimvida.training.folder import CLASSIFIER
    from dimvida.training.ranks import together
    from dimvida.training.run import Run

    if not minutes >= 0:
        raise InputError(f"--minutes {minutes:g}: must not be negative")
    torch_device = resolve_device(device)
    with together(torch_device) as ranks:
        options = ranks.broadcast_from_rank_0(
            lambda: resolve_options(
                out,
                resume=resume,
                preset=preset,
                overrides=set_ or [],
                config_file=config_file,
                data=data,
                stage=stage,
                split=split,
                partition=partition,
                init=init,
                classifier=classifier,
                weights=weights,
                skip_bad=skip_bad,
                tensorboard=tensorboard,
            )
        )
        origin = {
            "command": command_line(context),
            "versions": software_versions(),
            "options": options.to_dict(),
        }
        if options.stage == CLASSIFIER:
            from dimvida.cli.train_classifier import train_classifier

            if dry_run:
                raise InputError("--dry-run tells of the other stages; --stage classifier trains one network")
            return train_classifier(options, out, torch_device, origin, minutes=minutes, resume=resume)
        start, training_data = ranks.broadcast_from_rank_0(lambda: _prepare(options, out, resume))
        if dry_run:
            return _print_plan(options, training_data, out) if ranks.is_rank_0 else 0
        report = announce if ranks.is_rank_0 else None
        with Interrupt(minutes, report) as interrupt, contextlib.ExitStack() as bars:
            run = Run(
                out,
                options.config,
                training_data,
                torch_device,
                watcher(bars),
                interrupt,
                start,
                ranks,
                workers,
                options.tensorboard,
                origin,
            )
            finished = run.train(options.stage, resume)
        if ranks.is_rank_0:
            print(_outcome(run, options.stage, finished))
        if not finished and interrupt.signal == signal.SIGINT:
            raise KeyboardInterrupt  # so that whoever called learns of it, as from any other command
        if finished and training_data.skipped and not options.skip_bad:
            raise _unreadable(training_data.skipped, run.folder)
    return 0


def _prepare(options: TrainOptions, out: Path, resume: bool) -> tuple[Checkpoint | None, TrainingData]:
    """What the training starts from and what it trains on."""
    from dimvida.models.checkpoint import load_checkpoint
    from dimvida.training.figures import require_tensorboard
    from dimvida.training.folder import STAGES, RunFolder
    from dimvida.training.resume import changed_lengths, require_same_options

    if options.tensorboard:
        require_tensorboard()
    start = load_checkpoint(options.init) if options.init is not None else None
    # Before the data are read, not after it.
    if not resume:
        require_apart(locate(options.data), out, around=True)
    require_writable_folder("--out", out)
    folder = RunFolder(out)
    stages = STAGES if options.stage == "all" else (options.stage,)
    folder.check(stages, resume=resume, init=None if start is None else start.digest)
    if resume:
        require_same_options(folder, options.config)
        for change in changed_lengths(folder.description().get("configuration", {}), options.config):
            note(change)
    return start, _load(options.data, options.split, options.partition, options.config)


def _print_plan(options: TrainOptions, data: TrainingData, out: Path) -> int:
    from dimvida.training.dry_run import forecast

    for line in forecast(options.config, data, options.stage):
        print(line)
    print(f"nothing was written; without --dry-run it would go to {out}")
    return 0


def _outcome(run: Run, stage: str, finished: bool) -> str:
    if not finished:
        return f"stopped; continue with --resume{_so_far(run)}"
    if stage == "autoencoder":
        return f"checkpoint: {run.folder.checkpoint} (the score network is not trained yet; next: --stage diffusion)"
    return f"checkpoint: {run.folder.checkpoint}"


def _unreadable(files: Sequence[BadFile], folder: RunFolder) -> DimvidaError:
    return DimvidaError(
        f"{counted(len(files), 'input file')} cannot be read and were left out, see "
        f"{folder.path / 'run.json'}; the first: {files[0].location}: {files[0].reason} (not an error with --skip-bad)"
    )


def _so_far(run: Run) -> str:
    if not run.folder.checkpoint.exists():
        return ""
    untrained = "" if run.generates else " (the score network is not trained yet)"
    return f"; checkpoint so far: {run.folder.checkpoint}{untrained}"


def _load(path: Path, split: str | None, partition: Path | None, config: TrainConfig) -> TrainingData:
    from dimvida.data.batch import load_all
    from dimvida.data.partitions import load_partitions
    from dimvida.training.data import prepare_data

    source, split = open_for_training(path, split, partition)
    with ProgressBar("reading", len(source), "objects") as bar:
        sizes = config.autoencoder
        batch, bad, notes = load_all(source, image_size=sizes.image_size, channels=sizes.channels, progress=bar.update)
        for file in bad[:SKIPS_SHOWN]:
            bar.message(f"skipped {file.location}: {file.reason}")
        if len(bad) > SKIPS_SHOWN:
            bar.message(f"skipped {len(bad) - SKIPS_SHOWN} more; run.json lists all")
    bad = [*source.left_out, *bad]
    for text in (*source.notes, *notes):
        note(text)
    description = {
        "name": path.name,
        "form": source.form,
        "split": split,
        "partition": partition and partition.name,
        "partition_sha256": partition and load_partitions(partition).digest(),
    }
    training_data = prepare_data(batch, source.classes, config, description, bad)
    for text in training_data.notes:
        note(text)
    return training_data
