"""Runs a chain: what is finished is skipped, what was interrupted goes on.

partition.json, model/, evaluation/, classification/, report/   made by the stages' commands, see ``stages``
reproduce.json                                                  what was asked, and what is done
trial/                                                          while the speed of the machine is measured
"""

from __future__ import annotations

import dataclasses
import json
import platform
import re
import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dimvida._version import __version__
from dimvida.data.partitions import PARTS, load_partitions
from dimvida.errors import InputError
from dimvida.files import exclusive_folder
from dimvida.records import config_from_json, from_json
from dimvida.remote import shown_words
from dimvida.reproduction.budget import StageLengths, divide_budget, measure_speeds
from dimvida.reproduction.stages import PARTITION, ChainOptions, ChainStage, StageMaker
from dimvida.results.files import ReproducedStage, ReproductionResult, write_result
from dimvida.training.folder import not_read

TRIAL = "trial"

_UNFINISHED = re.compile(r"\.(reproduce|partition)\.\w{8}\.json")  # names of dimvida.files.atomic_path


@dataclass(slots=True)
class ReproductionChain:
    """A chain of stages in one folder.

    Attributes:
        options: What the chain is asked to do.
        state: Which stages are finished, kept in the chain's folder.
        views: The number of views of an object.
        execute: Runs a command line, without the program's name; raises if it did not do all of its work.
        say: Called with a line for people.
        device: The device that computes.
        skip_bad: Unreadable files are no error.
    """

    options: ChainOptions
    state: ChainState
    views: int
    execute: Callable[[Sequence[str]], None]
    say: Callable[[str], object]
    device: str = "auto"
    skip_bad: bool = False

    @property
    def out(self) -> Path:
        """The chain's folder."""
        return self.state.folder

    def run(self) -> None:
        """Do what is not done yet.

        Raises:
            DimvidaError: A stage failed.
            KeyboardInterrupt: It was interrupted; the same call continues.
        """
        stages = self._maker().all()
        if all(self._done(stage) for stage in stages):
            return
        self.state.save()
        # A plan knows the partition, so that is made first.
        self._run_stage(stages[0], 1)
        stages = self._maker(self._plan()).all()
        for number, stage in enumerate(stages[1:-1], 2):
            self._run_stage(stage, number)
        self._run_stage(stages[-1], len(stages), again=True)

    def _maker(self, plan: StageLengths | None = None) -> StageMaker:
        return StageMaker(self.options, self.out, self.device, self.skip_bad, plan)

    def _done(self, stage: ChainStage) -> bool:
        return self.state.finished(stage.name) and (self.out / stage.result).exists()

    def _run_stage(self, stage: ChainStage, number: int, again: bool = False) -> None:
        if self._done(stage) and not again:
            return
        command = stage.command
        self.say(f"\n[{number}] {stage.name}\n$ {shlex.join(['dimvida', *shown_words(command)])}")
        self.state.record(stage.name, stage.arguments, stage.result, finished=False, seconds=0)
        began = time.monotonic()
        self.execute(command)
        self.state.record(stage.name, stage.arguments, stage.result, finished=True, seconds=time.monotonic() - began)

    def _plan(self) -> StageLengths | None:
        if not self.options.budget:
            return None
        if self.state.plan is None:
            partitions = load_partitions(self.out / PARTITION)
            self.say(f"\n[1] trial: how fast is this machine? (in {self.out / TRIAL}, removed afterwards)")
            speeds = measure_speeds(
                self.options, partitions, self.out / TRIAL, self.execute, device=self.device, skip_bad=self.skip_bad
            )
            objects = {part: len(partitions.part(part)) for part in PARTS}
            self.state.plan = dataclasses.asdict(divide_budget(self.options, speeds, objects, self.views))
            self.state.save()
        plan = config_from_json(StageLengths, self.state.plan, f"{self.out / ReproductionResult.file}: plan")
        self.say(
            f"\nin {self.options.budget:g} minutes: {plan.autoencoder} steps of the autoencoder, {plan.diffusion} of "
            f"the diffusion, {plan.judge} of the classifier for coherence, {plan.study} of each other classifier; "
            f"evaluation on {plan.evaluated} objects"
        )
        return plan


@dataclass(slots=True)
class ChainState:
    """What a chain has done so far, as ``reproduce.json`` says it.

    Attributes:
        folder: The chain's folder.
        configuration: The options that it was begun with.
        command: The command line that it was begun with.
        plan: Lengths of its stages, if they were measured.
        stages: What is known of its stages, by name.
    """

    folder: Path
    configuration: dict[str, Any]
    command: list[str]
    plan: dict[str, Any] | None = None
    stages: dict[str, ReproducedStage] = field(default_factory=dict)

    def finished(self, stage: str) -> bool:
        """Whether a stage is done."""
        return stage in self.stages and self.stages[stage].finished

    def record(self, stage: str, command: Sequence[str], folder: str, *, finished: bool, seconds: float) -> None:
        """Write down that a stage begins, or that it took so much longer."""
        before = (self.stages[stage].minutes or 0.0) if stage in self.stages else 0.0
        minutes = round(before + seconds / 60, 2)
        self.stages[stage] = ReproducedStage(stage, ["dimvida", *shown_words(command)], folder, finished, minutes)
        self.save()

    def save(self) -> None:
        """Write it, atomically."""
        result = ReproductionResult(
            command=self.command,
            versions={"dimvida": __version__, "python": platform.python_version()},
            configuration=self.configuration,
            plan=self.plan,
            stages=list(self.stages.values()),
        )
        write_result(self.folder / ReproductionResult.file, result)


def load_state(folder: Path, configuration: dict[str, Any], command: Sequence[str]) -> ChainState:
    """The state of the chain in a folder, a new one if there is none.

    Raises:
        InputError: The folder holds something else, or a chain of another configuration.
    """
    try:
        content = json.loads((folder / ReproductionResult.file).read_bytes())
        result = from_json(ReproductionResult, content, ReproductionResult.file)
    except FileNotFoundError:
        _require_free(folder)
        return ChainState(folder, configuration, list(command))
    except OSError as error:
        raise not_read(folder / ReproductionResult.file, error) from error
    except (ValueError, RecursionError, InputError):
        raise InputError(f"{folder / ReproductionResult.file}: damaged; choose another --out") from None
    stages = {stage.name: stage for stage in result.stages}
    found = ChainState(folder, result.configuration, result.command, result.plan, stages)
    different = [name for name in configuration if found.configuration.get(name) != configuration[name]]
    if different:
        name = different[0]
        raise InputError(
            f"{folder} was begun with another {name}: {found.configuration.get(name)!r}, not {configuration[name]!r}; "
            "repeat its options, or give another --out"
        )
    return found


@contextmanager
def owned(folder: Path) -> Iterator[None]:
    """Make the folder, keep other processes out, and remove what a killed one left half written.

    Raises:
        InputError: Another process works here, or the folder cannot be made.
    """
    with exclusive_folder(folder, "another process works here; wait for it, or choose another --out"):
        for path in folder.glob(".*"):
            if _UNFINISHED.fullmatch(path.name):
                path.unlink(missing_ok=True)
        yield


def _require_free(folder: Path) -> None:
    if folder.is_dir() and any(not _UNFINISHED.fullmatch(path.name) for path in folder.iterdir()):
        raise InputError(f"{folder}: not empty, and not a folder of dimvida reproduce; choose another --out")
