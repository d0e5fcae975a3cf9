"""``dimvida train --stage classifier``."""

from __future__ import annotations

import contextlib
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dimvida.cli.options import require_readable
from dimvida.cli.progress import ProgressBar, announce, watcher
from dimvida.cli.terminal import note
from dimvida.cli.training_data import open_for_training
from dimvida.data.sample import locate, require_apart
from dimvida.errors import InputError
from dimvida.files import require_writable_folder
from dimvida.models.classifiers import ClassifierConfig
from dimvida.torchrun import is_rank
from dimvida.training.classifier import ClassifierPlan, ClassifierRun
from dimvida.training.control import Interrupt, Interrupted
from dimvida.training.data import LabelledImages, all_views
from dimvida.training.folder import CLASSIFIER

if TYPE_CHECKING:
    import torch

    from dimvida.cli.train_options import TrainOptions
    from dimvida.data.batch import BadFile
    from dimvida.training.config import TrainConfig


def train_classifier(
    options: TrainOptions,
    out: Path,
    device: torch.device,
    origin: dict[str, Any],
    *,
    minutes: float,
    resume: bool,
) -> int:
    """Train a classifier on every view of the training data into ``out/classifier``; options as of ``train``."""
    if is_rank():
        raise InputError("--stage classifier trains in one process; start it without torchrun")
    config = options.config
    plan = ClassifierPlan(options.classifier, config.classifier_stage, config.seed, options.weights)
    ClassifierConfig(plan.name, ("any", "other"))  # before the data are read: is there such a classifier?
    if not resume:
        require_apart(locate(options.data), out, around=True)
    require_writable_folder("--out", out)
    images, bad = _load(options.data, options.split, options.partition, config)
    digest = plan.digest(images.digest())
    folder = out / CLASSIFIER
    origin = {**origin, "configuration": config.to_dict()}
    with Interrupt(minutes, announce) as interrupt, contextlib.ExitStack() as bars:
        run = ClassifierRun(folder, plan, digest, device, interrupt, origin)
        run.check(resume=resume)
        try:
            run.train(lambda: images, watcher(bars))
        except Interrupted:
            bars.close()
            print("stopped; continue with --resume")
            if interrupt.signal == signal.SIGINT:
                raise KeyboardInterrupt from None  # so that whoever called learns of it, as from any other command
            return 0
    print(f"classifier: {folder}{_accuracy(run, images)}")
    if not options.skip_bad:
        require_readable(bad)
    return 0


def _accuracy(run: ClassifierRun, images: LabelledImages) -> str:
    from dimvida.models.classifier_checkpoint import read_description

    accuracy = read_description(run.folder)["provenance"]["validation"]["accuracy"]
    return f" ({100 * accuracy:.1f} % of the {len(images.held_out)} views of held-out objects right)"


def _load(
    path: Path, split: str | None, partition: Path | None, config: TrainConfig
) -> tuple[LabelledImages, list[BadFile]]:
    from dimvida.data.batch import load_all

    source, split = open_for_training(path, split, partition)
    with ProgressBar("reading", len(source), "objects") as bar:
        batch, bad, notes = load_all(source, image_size=config.autoencoder.image_size, progress=bar.update)
    bad = [*source.left_out, *bad]
    for text in (*source.notes, *notes):
        note(text)
    description = {"name": path.name, "form": source.form, "split": split, "partition": partition and partition.name}
    return all_views(batch, source.classes, config.validation, config.seed, description), bad
