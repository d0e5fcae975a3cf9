"""Runs a chain: what is finished is skipped, what was interrupted goes on."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from dimvida.data.partitions import PARTS, load_partitions
from dimvida.reproduction.plan import Plan, make_plan, plan_from_dict
from dimvida.reproduction.settings import Settings
from dimvida.reproduction.stages import PARTITION, Stage, StageMaker
from dimvida.reproduction.state import State
from dimvida.reproduction.trial import measure_speeds

TRIAL = "trial"


@dataclass(slots=True)
class Chain:
    """One chain.

    Attributes:
        settings: What is asked.
        state: What is done.
        views: Of an object.
        execute: Runs a command line, without the program's name; raises if it did not do all of its work.
        say: Called with a line for people.
        device: Where to compute.
        skip_bad: Unreadable files are no error.
    """

    settings: Settings
    state: State
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

    def _maker(self, plan: Plan | None = None) -> StageMaker:
        return StageMaker(self.settings, self.out, self.device, self.skip_bad, plan)

    def _done(self, stage: Stage) -> bool:
        return self.state.finished(stage.name) and (self.out / stage.result).exists()

    def _run_stage(self, stage: Stage, number: int, again: bool = False) -> None:
        if self._done(stage) and not again:
            return
        command = stage.command
        self.say(f"\n[{number}] {stage.name}\n$ {shlex.join(['dimvida', *command])}")
        self.state.record(stage.name, stage.arguments, stage.result, finished=False, seconds=0)
        began = time.monotonic()
        self.execute(command)
        self.state.record(stage.name, stage.arguments, stage.result, finished=True, seconds=time.monotonic() - began)

    def _plan(self) -> Plan | None:
        if not self.settings.budget:
            return None
        if self.state.plan is None:
            partitions = load_partitions(self.out / PARTITION)
            self.say(f"\n[1] trial: how fast is this machine? (in {self.out / TRIAL}, removed afterwards)")
            speeds = measure_speeds(
                self.settings, partitions, self.out / TRIAL, self.execute, device=self.device, skip_bad=self.skip_bad
            )
            objects = {part: len(partitions.part(part)) for part in PARTS}
            self.state.plan = make_plan(self.settings, speeds, objects, self.views).to_dict()
            self.state.save()
        plan = plan_from_dict(self.state.plan)
        self.say(
            f"\nin {self.settings.budget:g} minutes: {plan.autoencoder} steps of the autoencoder, {plan.diffusion} of "
            f"the diffusion, {plan.judge} of the classifier for coherence, {plan.study} of each other classifier; "
            f"evaluation on {plan.evaluated} objects"
        )
        return plan
