"""A whole classification experiment in one folder: read, generate, judge the generator, train, test.

generated/            completions of c and e, see ``completions``
classifiers/          trained classifiers and what they say, see ``trained``
classification.json   the result, see ``results``; written last
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dimvida.classification.cache import Completions, Sampler
from dimvida.classification.design import Questions
from dimvida.classification.judge import JUDGE, judge_given, judge_trained
from dimvida.classification.objects import Roles
from dimvida.classification.results import RESULTS, cell_results, write_results
from dimvida.classification.study import Study
from dimvida.classification.trained import Workshop
from dimvida.classification.verdict import Coherence
from dimvida.classification.views import SingleViews, read_single_views
from dimvida.data.batch import BadFile, MultiViewBatch, load_all
from dimvida.data.names import counted
from dimvida.data.source import MultiViewSource
from dimvida.errors import InputError
from dimvida.files import exclusive_folder
from dimvida.models.classifiers import ImageClassifier
from dimvida.sampling.multiview import MultiViewModel
from dimvida.training.config import TrainConfig
from dimvida.training.control import Interrupt, StartProgress

GENERATED, CLASSIFIERS = "generated", "classifiers"

# The names that dimvida.files.atomic_path gives to the unfinished files of a study.
_UNFINISHED = re.compile(r"\.(classification|set|part-\d+|logits-[\w-]+|given-[\w-]+)\.\w{8}\.(json|safetensors)")


@dataclass(slots=True)
class Experiment:
    """One experiment.

    Attributes:
        folder: Where everything is kept.
        data: The data's path, for its name.
        roles: Which objects do what.
        model: The generator.
        sampler: How it is sampled.
        config: How classifiers are trained; its seed is also that of the choice of views.
        questions: What is asked.
        watch: Called when something long begins.
        interrupt: Asked whether to stop.
        say: Called with a line for people.
        note: Called with a line about what is unusual.
        judge: The classifier that coherence is measured with; None trains one on d.
        limit: At most so many objects in each of c and e.
        bad: Files that could not be read.
    """

    folder: Path
    data: Path
    roles: Roles
    model: MultiViewModel
    sampler: Sampler
    config: TrainConfig
    questions: Questions
    watch: StartProgress
    interrupt: Interrupt
    say: Callable[[str], object]
    note: Callable[[str], object]
    judge: ImageClassifier | None = None
    limit: int | None = None
    bad: list[BadFile] = field(default_factory=list)

    def run(self, command: list[str], versions: dict[str, str]) -> dict[str, Any]:
        """Do what is not done yet, and write ``classification.json``.

        Args:
            command: The command line, for the result.
            versions: Of what computes it, for the result.

        Returns:
            What ``classification.json`` says.

        Raises:
            Interrupted: It was interrupted; the same call continues.
            InputError: The folder holds something else, or another process is at work in it.
        """
        check_folder(self.folder)
        with self._owned():
            c, e = self._read("c", self.roles.c), self._read("e", self.roles.e)
            study = self._study(c, e)
            study.complete()
            coherence, notes = self._measure_coherence(study.workshop), list(self.roles.notes)
            verdict = coherence.verdict if coherence else "Coherence was not measured: the data have no objects for it."
            self.say(verdict)
            if self.questions.weights and self.questions.not_fine_tuned:
                notes.append(f"{', '.join(self.questions.not_fine_tuned)}: not fine-tuned, for want of --weights")
            elif not self.questions.weights:
                notes.append("no --weights were given, so there is no table of fine-tuned classifiers")
            for line in notes:
                self.note(line)
            results = {
                "command": command,
                "versions": versions,
                "data": self.data.name,
                "checkpoint": self.model.checkpoint_hash,
                "solver": self.sampler.solver,
                "steps": self.sampler.steps,
                "seed": self.sampler.seed,
                "classes": list(study.workshop.classes),
                "view_names": list(self.model.view_names),
                "partitions": {"d": self.roles.d and len(self.roles.d), "c": len(c), "e": len(e)},
                "coherence": coherence and coherence.to_dict(),
                "too_weak": coherence is not None and coherence.too_weak,
                "note": verdict,
                "notes": notes,
                **cell_results(study.cells(), e.labels, len(study.workshop.classes)),
                "diversity": study.diversity(),
                "skipped": [{"file": file.location, "reason": file.reason} for file in self.bad],
            }
            write_results(self.folder, results)
        return results

    def _study(self, c: SingleViews, e: SingleViews) -> Study:
        completions = {
            name: Completions(self.folder / GENERATED, f"generating {name}a", self.model, objects, self.sampler)
            for name, objects in (("c", c), ("e", e))
        }
        workshop = Workshop(
            self.folder / CLASSIFIERS,
            self.config,
            completions["c"],
            self.roles.c.classes,
            self.model.device,
            self.watch,
            self.interrupt,
        )
        return Study(self.questions, workshop, completions["e"])

    def _read(self, name: str, source: MultiViewSource) -> SingleViews:
        show = self.watch(f"reading {name}", min(self.limit or len(source), len(source)), "objects", 0)
        objects, bad, notes = read_single_views(
            source,
            self.model.view_names,
            self.model.image_size,
            channels=self.model.config.autoencoder.channels,
            seed=self.config.seed,
            limit=self.limit,
            progress=show,
        )
        for line in notes:
            self.note(line)
        self.bad += bad
        return objects

    def _measure_coherence(self, workshop: Workshop) -> Coherence | None:
        if self.judge is not None:
            return judge_given(workshop, self.judge)
        d = self.roles.d
        if d is None:
            return None
        self.say(f"judge: a {JUDGE}, trained on all views of the {counted(len(d), 'object')} of d")
        return judge_trained(
            workshop, d, self.config.seed, self.questions.weights.get(JUDGE), lambda: self._read_all_views(d)
        )

    def _read_all_views(self, d: MultiViewSource) -> MultiViewBatch:
        show = self.watch("reading d", len(d), "objects", 0)
        sizes = self.model.config.autoencoder
        batch, bad, _ = load_all(
            d,
            image_size=sizes.image_size,
            channels=sizes.channels,
            view_names=self.model.view_names,
            progress=show,
        )
        for file in bad:
            self.note(f"left out of d: {file.location}: {file.reason}")
        return batch

    @contextmanager
    def _owned(self) -> Iterator[None]:
        """Keep other processes out, and remove what a killed one left half written."""
        with exclusive_folder(self.folder, "another process works here; wait for it, or choose another --out"):
            for path in self.folder.rglob(".*"):
                if _UNFINISHED.fullmatch(path.name):
                    path.unlink(missing_ok=True)
            yield


def check_folder(folder: Path) -> None:
    """Raise InputError unless a folder is new, empty or that of an experiment."""
    if not folder.is_dir():
        return
    names = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
    if names and not names & {GENERATED, CLASSIFIERS, RESULTS}:
        raise InputError(f"{folder}: not empty, and not a folder of dimvida classify; choose another --out")
