"""The steps of a study in one folder, in the order in which ``dimvida classify`` takes them.

generated/            completed objects of c and e, see ``cache``
classifiers/          trained classifiers, see ``dimvida.training.classifier``, with what they say, see ``cache``
classification.json   the result, see ``dimvida.results.schema``; written last

A study that was stopped or killed goes on where it was.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dimvida.classification.cache import CachedLogits, CompletedObjects, Sampler
from dimvida.classification.design import Recipe, StudyCell, StudyDesign
from dimvida.classification.objects import Roles, SingleViews, read_single_views
from dimvida.classification.verdict import (
    answers,
    disagreement,
    is_too_weak,
    measure_coherence,
    pixel_deviation,
    verdict,
)
from dimvida.data.batch import BadFile, load_all
from dimvida.data.names import counted
from dimvida.data.source import MultiViewSource
from dimvida.errors import InputError
from dimvida.files import exclusive_folder
from dimvida.models.classifier_checkpoint import DESCRIPTION
from dimvida.models.classifiers import ImageClassifier, require_known
from dimvida.results.schema import JUDGE, ClassificationResult, CoherenceResult, Diversity, SkippedInput
from dimvida.sampling.multiview import MultiViewModel
from dimvida.training.classifier import ClassifierPlan, ClassifierRun
from dimvida.training.config import TrainConfig
from dimvida.training.control import Interrupt, StartProgress
from dimvida.training.data import LabelledImages, all_views

TrainedClassifiers = Mapping[tuple[Recipe, int], ClassifierRun]
"""The classifiers of each recipe and seed."""

GENERATED, TRAINED = "generated", "classifiers"
"""The folders of a study."""

# The names that dimvida.files.atomic_path gives to the unfinished files of a study.
_UNFINISHED = re.compile(r"\.(classification|set|part-\d+|logits-[\w-]+|given-[\w-]+)\.\w{8}\.(json|safetensors)")


@dataclass(slots=True)
class Study:
    """One study of one generator on one data set.

    Attributes:
        folder: The folder that keeps everything of the study.
        roles: Which objects do what.
        model: The generator of the missing views.
        sampler: Solver, steps, seed and type that views are generated with.
        config: How classifiers are trained; its seed is also that of the choice of views.
        design: Which classifiers, tables and questions the study has.
        watch: Called when something long begins.
        interrupt: Asked whether to stop.
        say: Called with a line for people.
        note: Called with a line about what is unusual.
        judge: The classifier that coherence is measured with; None trains one on d.
        limit: At most so many objects in each of c and e.
        bad: Files that could not be read.
    """

    folder: Path
    roles: Roles
    model: MultiViewModel
    sampler: Sampler
    config: TrainConfig
    design: StudyDesign
    watch: StartProgress
    interrupt: Interrupt
    say: Callable[[str], object]
    note: Callable[[str], object]
    judge: ImageClassifier | None = None
    limit: int | None = None
    bad: list[BadFile] = field(default_factory=list)

    @contextmanager
    def owned(self) -> Iterator[None]:
        """Keep other processes out of the folder, and remove what a killed one left half written.

        Raises:
            InputError: The folder holds something else, or another process is at work in it.
        """
        check_folder(self.folder)
        with exclusive_folder(self.folder, "another process works here; wait for it, or choose another --out"):
            for path in self.folder.rglob(".*"):
                if _UNFINISHED.fullmatch(path.name):
                    path.unlink(missing_ok=True)
            for finished in self.folder.glob(f"{TRAINED}/*/{DESCRIPTION}"):
                (finished.parent / "classifier.state").unlink(missing_ok=True)
            yield

    def read(self, name: str, source: MultiViewSource) -> SingleViews:
        """Read one view of each object, which is the one that is known from then on."""
        show = self.watch(f"reading {name}", min(self.limit or len(source), len(source)), "objects", 0)
        objects, bad, notes = read_single_views(
            source,
            self.model.view_names,
            self.model.image_size,
            channels=self.model.channels,
            seed=self.config.seed,
            limit=self.limit,
            progress=show,
        )
        for line in notes:
            self.note(line)
        self.bad += bad
        return objects

    def complete(self, name: str, objects: SingleViews) -> CompletedObjects:
        """Generate the missing views once, or find them where they were kept."""
        completed = CompletedObjects(self.folder / GENERATED, f"generating {name}", self.model, objects, self.sampler)
        completed.draw(0, self.watch, self.interrupt)
        return completed

    def measure_coherence(self, ca: CompletedObjects) -> CoherenceResult | None:
        """Let a classifier of real views, given or trained on all of d, judge ca; None without either."""
        c, d, classes = ca.objects, self.roles.d, self.roles.c.classes
        if self.judge is not None:
            require_known(classes, self.judge.classes, "--judge")
            labels = torch.tensor([self.judge.classes.index(name) for name in classes])[c.labels]
            return measure_coherence(self._logits.of_given(self.folder / TRAINED, self.judge, ca), labels, c)
        if d is None:
            return None
        self.say(f"judge: a {JUDGE}, trained on all views of the {counted(len(d), 'object')} of d")
        seed, validation = self.config.seed, self.config.validation
        plan = ClassifierPlan(JUDGE, self.config.classifier_stage, seed, self.design.weights.get(JUDGE))
        # The pixels of d are not read again to name a finished classifier; those of c, of the same data, stand for
        # them.
        views = () if d.view_names == self.model.view_names else d.view_names  # --nmr-views chooses others
        names = "\n".join((*(record.id for record in d.records), *classes, *views))
        data = f"{hashlib.sha256(names.encode()).hexdigest()} {c.digest} {validation}"
        run = ClassifierRun.named(self.folder / TRAINED, "judge", plan, data, self.model.device, self.interrupt)
        if not run.finished():
            run.train(self._read_all_views(d), self.watch, "judge")
        return measure_coherence(self._logits.of_trained(run, ca), c.labels, c)

    def _read_all_views(self, d: MultiViewSource) -> LabelledImages:
        model, show = self.model, self.watch("reading d", len(d), "objects", 0)
        batch, bad, _ = load_all(
            d, image_size=model.image_size, channels=model.channels, view_names=model.view_names, progress=show
        )
        for file in bad:
            self.note(f"left out of d: {file.location}: {file.reason}")
        return all_views(batch, self.roles.c.classes, self.config.validation, self.config.seed, {"part": "d"})

    def notes(self) -> list[str]:
        """What a reader of the results has to know of the study, a line each."""
        notes = list(self.roles.notes)
        if self.design.weights and self.design.not_fine_tuned:
            notes.append(f"{', '.join(self.design.not_fine_tuned)}: not fine-tuned, for want of --weights")
        elif not self.design.weights:
            notes.append("no --weights were given, so there is no table of fine-tuned classifiers")
        return notes

    @property
    def _logits(self) -> CachedLogits:
        return CachedLogits(self.model.device, self.watch, self.interrupt)

    def predict(self, cell: StudyCell, runs: TrainedClassifiers, ea: CompletedObjects) -> Tensor:
        """Labels of the objects of e by the classifier of each seed, int64 [S, N]."""
        asked, rows = cell.inference, []
        if asked.sampler_steps != ea.sampler.steps:
            ea = dataclasses.replace(ea, sampler=dataclasses.replace(ea.sampler, steps=asked.sampler_steps))
        for seed in self.design.seeds:
            run = runs[cell.recipe, seed]
            draws = [self._logits.of_trained(run, ea, draw) for draw in range(asked.samples_per_view)]
            rows.append(answers(draws, ea.objects, asked))
        return torch.stack(rows)

    def diversity(self, runs: TrainedClassifiers, ea: CompletedObjects) -> Diversity | None:
        """How much the samples of a generated view of ea differ, if several were asked for: in their pixels, and in
        the classes that each classifier trained on ca puts them into.
        """
        count = self.design.samples_per_view
        if "samples" not in self.design.beyond or count < 2:
            return None
        generated = ~ea.objects.known()
        draws = torch.stack([ea.draw(number, self.watch, self.interrupt)[generated] for number in range(count)])
        disagreements = {}
        for name in self.design.classifiers:
            recipe = Recipe(name, augmented=True, budget=self.design.budgets[0])
            shares = []
            for seed in self.design.seeds:
                logits = [self._logits.of_trained(runs[recipe, seed], ea, number) for number in range(count)]
                shares.append(disagreement(torch.stack([each.argmax(2)[generated] for each in logits])))
            disagreements[name] = sum(shares) / len(shares)
        return Diversity(count, pixel_deviation(draws), disagreements)

    def facts(self, c: SingleViews, e: SingleViews, coherence: CoherenceResult | None) -> dict[str, Any]:
        """What was studied, and what that says of the generator, by the names of ``ClassificationResult``."""
        d = self.roles.d
        return {
            "checkpoint": self.model.checkpoint_hash,
            **{name: getattr(self.sampler, name) for name in ("solver", "steps", "seed")},
            "classes": list(self.roles.c.classes),
            "view_names": list(self.model.view_names),
            "partitions": {"d": d and len(d), "c": len(c), "e": len(e)},
            "coherence": coherence,
            "too_weak": is_too_weak(coherence),
            "note": verdict(coherence),
            "notes": self.notes(),
            "skipped": [SkippedInput(file.location, file.reason) for file in self.bad],
        }


def check_folder(folder: Path) -> None:
    """Raise InputError unless a folder is new, empty or that of a study."""
    if not folder.is_dir():
        return
    names = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
    if names and not names & {GENERATED, TRAINED, ClassificationResult.file}:
        raise InputError(f"{folder}: not empty, and not a folder of dimvida classify; choose another --out")
