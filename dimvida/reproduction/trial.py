"""A short run of everything on a few objects, to learn how fast this machine is."""

from __future__ import annotations

import csv
import dataclasses
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from dimvida.data.partitions import Partitions, save_partitions
from dimvida.errors import DimvidaError
from dimvida.reproduction.plan import Speeds
from dimvida.reproduction.settings import Settings
from dimvida.reproduction.stages import CLASSIFIER, JUDGE, MODEL, PARTITION, StageMaker

OBJECTS = 64  # of d
EVALUATED = 4
STEPS, EVERY = 12, 4  # the first steps are slower, so speed is measured between points of the learning curve

Execute = Callable[[Sequence[str]], None]


def measure_speeds(
    settings: Settings, partitions: Partitions, folder: Path, execute: Execute, *, device: str, skip_bad: bool
) -> Speeds:
    """Train and evaluate a little, in a folder that is removed afterwards.

    Args:
        settings: What will be run.
        partitions: Of the data.
        folder: To work in; what is there is removed.
        execute: Runs a command line, without the program's name.
        device: Where to compute.
        skip_bad: Unreadable files are no error.
    """
    began = time.monotonic()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    short = [
        f"{table}_stage.{option}={value}"
        for table in ("autoencoder", "diffusion", "classifier")
        for option, value in (("steps", STEPS), ("log_every", EVERY), ("warmup_steps", 0), ("sheet_every", 0))
    ]
    make = StageMaker(dataclasses.replace(settings, values=(*settings.values, *short)), folder, device, skip_bad)
    few = dataclasses.replace(partitions, d=_spread(partitions.d, OBJECTS))
    save_partitions(few, folder / PARTITION)
    execute(make.model().command)
    classifiers = {}
    for name in dict.fromkeys((JUDGE, *settings.classifiers.split(","))):
        place = folder / (MODEL if name == JUDGE else name)
        execute(make.classifier(place, name).command)
        classifiers[name] = seconds_per_step(place / CLASSIFIER / "classifier.csv")
    before = time.monotonic()
    execute([*make.evaluation().command, "--limit", str(EVALUATED)])
    evaluated = (time.monotonic() - before) / EVALUATED
    speeds = Speeds(
        autoencoder=seconds_per_step(folder / MODEL / "autoencoder.csv"),
        diffusion=seconds_per_step(folder / MODEL / "diffusion.csv"),
        classifiers=classifiers,
        evaluation=evaluated,
        trial=time.monotonic() - began,
    )
    shutil.rmtree(folder)
    return speeds


def seconds_per_step(curve: Path) -> float:
    """The speed between the first and the last point of a learning curve.

    Raises:
        DimvidaError: It has fewer than two points.
    """
    with open(curve) as file:
        points = [(int(row["step"]), float(row["seconds"])) for row in csv.DictReader(file)]
    if len(points) < 2:
        raise DimvidaError(f"{curve}: too short to tell the speed; leave out --minutes")
    (first, began), (last, ended) = points[0], points[-1]
    # The curve has tenths of a second; a machine faster than that has time for everything anyway.
    return max(ended - began, 0.1) / (last - first)


def _spread(ids: Sequence[str], count: int) -> tuple[str, ...]:
    """So many of the ids, at even distances."""
    count = min(count, len(ids))
    return tuple(ids[number * len(ids) // count] for number in range(count))
