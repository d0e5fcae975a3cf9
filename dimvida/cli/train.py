"""``dimvida train``."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dimvida.cli.device import resolve_device
from dimvida.cli.progress import ProgressBar
from dimvida.errors import InputError

if TYPE_CHECKING:
    from dimvida.training.config import TrainConfig
    from dimvida.training.dataset import TrainingData
    from dimvida.training.progress import Show, Watcher


def train(
    data: Annotated[Path, typer.Option(help="Multi-view data: a folder, a zip, or NMR.")],
    out: Annotated[Path, typer.Option(help="Folder of the run: states, curves, samples, checkpoint.")],
    preset: Annotated[str, typer.Option(help="paper, small or tiny.")] = "small",
    stage: Annotated[str, typer.Option(help="all, autoencoder or diffusion.")] = "all",
    resume: Annotated[bool, typer.Option("--resume", help="Continue this run where it stopped.")] = False,
    split: Annotated[str | None, typer.Option(help="Split to train on; by default 'train' if there is one.")] = None,
    partition: Annotated[Path | None, typer.Option(help="Partition file; trains on its part d.")] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="TABLE.OPTION=VALUE", help="Replace a preset's value."),
    ] = None,
    init: Annotated[
        str | None, typer.Option(metavar="DIR", help="Start from this checkpoint's weights; 'bundled' works too.")
    ] = None,
    minutes: Annotated[float, typer.Option(help="Stop, resumably, after this long; 0: no limit.", min=0)] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")] = "auto",
) -> int:
    """Train an autoencoder, then the diffusion over its latents.

    Ctrl-C and SIGTERM save the state and the checkpoint; the same command with --resume goes on exactly.
    """
    from dimvida.models.checkpoint import load_checkpoint
    from dimvida.training.config import load_preset
    from dimvida.training.folder import STAGES, RunFolder
    from dimvida.training.interrupt import Interrupt
    from dimvida.training.run import Run

    if stage not in ("all", *STAGES):
        raise InputError(f"--stage {stage}: choose from all, {', '.join(STAGES)}")
    config = load_preset(preset, set_ or [])
    torch_device = resolve_device(device)
    start = load_checkpoint(init) if init is not None else None
    # Before the data are read, not after it.
    _check_place(out)
    stages = STAGES if stage == "all" else (stage,)
    RunFolder(out).check(stages, resume=resume, init=None if start is None else start.digest)
    training_data = _load(data, split, partition, config)
    with Interrupt(minutes, _announce) as interrupt, contextlib.ExitStack() as bars:
        run = Run(out, config, training_data, torch_device, _watcher(bars), interrupt, start)
        finished = run.train(stage, resume)
    if finished:
        print(f"checkpoint: {out / 'checkpoint'}")
        return 0
    print(f"stopped; the state is saved, continue with --resume; checkpoint so far: {out / 'checkpoint'}")
    if interrupt.signal == signal.SIGINT:
        raise KeyboardInterrupt  # so that whoever called learns of it, as from any other command
    return 0


def _announce(number: signal.Signals) -> None:
    what = "interrupted; saving the state (ctrl-C again stops at once)"
    if number == signal.SIGTERM:
        what = "terminated; saving the state"
    # Straight to the file, as the signal may have come in the middle of a print. On a terminal the line takes the
    # bar's place, and the bar is drawn again below it. Nobody there to read it is no reason not to save.
    start = "\r\x1b[2K" if sys.stderr.isatty() else ""
    with contextlib.suppress(OSError):
        os.write(2, f"{start}{what}\n".encode())


def _check_place(out: Path) -> None:
    place = next(path for path in (out, *out.absolute().parents) if path.exists())
    if not place.is_dir():
        raise InputError(f"--out {out}: {place} is a file; choose another folder")
    if not os.access(place, os.W_OK | os.X_OK):
        raise InputError(f"--out {out}: no permission to write in {place}; choose another folder")


def _load(path: Path, split: str | None, partition: Path | None, config: TrainConfig) -> TrainingData:
    from dimvida.data.batch import load_all
    from dimvida.data.opening import open_source
    from dimvida.data.partitions import select_partition
    from dimvida.training.dataset import prepare_data

    source = open_source(path)
    # A partition names its objects itself, of whatever split.
    if split is None and partition is None and "train" in source.splits:
        split = "train"
    if split is not None:
        source = open_source(path, split=split)
    if partition is not None:
        source = select_partition(source, partition, "d")
    with ProgressBar("reading", len(source), "objects") as bar:
        batch, bad, notes = load_all(source, image_size=config.autoencoder.image_size, progress=bar.update)
        for file in bad:
            bar.message(f"skipped {file.location}: {file.reason}")
        for note in notes:
            bar.message(note)
    description = {
        "name": path.name,
        "form": source.form,
        "split": split,
        "partition": partition and partition.name,
    }
    return prepare_data(batch, source.classes, config, description)


def _watcher(bars: contextlib.ExitStack) -> Watcher:
    def watch(work: str, total: int, unit: str, done: int) -> Show:
        bars.close()  # the last work's bar
        return bars.enter_context(ProgressBar(work, total, unit, start=done)).update

    return watch
