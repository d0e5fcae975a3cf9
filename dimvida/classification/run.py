"""A whole study in one folder: read, generate, judge the generator, train, ask, compare.

generated/            completed objects of c and e, see ``cache``
classifiers/          trained classifiers and what they say, see ``cache``
classification.json   the result, see ``dimvida.results.schema``; written last

A study that was stopped or killed goes on where it was.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dimvida.classification.cache import CompletedObjects, Sampler, TrainedClassifiers
from dimvida.classification.design import Recipe, StudyCell, StudyDesign, study_cells
from dimvida.classification.objects import Roles, SingleViews, read_single_views
from dimvida.classification.verdict import (
    cell_result,
    compare,
    from_all,
    from_known,
    from_some,
    is_too_weak,
    measure_coherence,
    verdict,
)
from dimvida.data.batch import BadFile, load_all
from dimvida.data.names import counted
from dimvida.data.source import MultiViewSource
from dimvida.errors import InputError
from dimvida.files import exclusive_folder
from dimvida.models.classifiers import ImageClassifier, require_known
from dimvida.results.files import write_result
from dimvida.results.schema import ClassificationResult, CoherenceResult, Diversity, SkippedInput
from dimvida.sampling.multiview import MultiViewModel
from dimvida.training.classifier import ClassifierPlan
from dimvida.training.config import TrainConfig
from dimvida.training.control import Interrupt, StartProgress
from dimvida.training.data import LabelledImages, all_views

GENERATED, CLASSIFIERS = "generated", "classifiers"
JUDGE = "resnet18"  # what judges the generator, unless a classifier is given

# The names that dimvida.files.atomic_path gives to the unfinished files of a study.
_UNFINISHED = re.compile(r"\.(classification|set|part-\d+|logits-[\w-]+|given-[\w-]+)\.\w{8}\.(json|safetensors)")


@dataclass(slots=True)
class Study:
    """One study of one generator on one data set.

    Attributes:
        folder: Where everything is kept.
        roles: Which objects do what.
        model: The generator.
        sampler: How it is sampled.
        config: How classifiers are trained; its seed is also that of the choice of views.
        design: What is asked.
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

    def run(self, about: dict[str, Any]) -> ClassificationResult:
        """Do what is not done yet, and write ``classification.json``.

        Args:
            about: What the result says of how it was asked for, first of all.

        Returns:
            What ``classification.json`` says.

        Raises:
            Interrupted: It was interrupted; the same call continues.
            InputError: The folder holds something else, or another process is at work in it.
        """
        check_folder(self.folder)
        with self._owned():
            c, e = self._read("c", self.roles.c), self._read("e", self.roles.e)
            ca, ea = self._complete("ca", c), self._complete("ea", e)
            classifiers = TrainedClassifiers(
                self.folder / CLASSIFIERS, self.config, ca, self.roles.c.classes, self.model.device, self.watch,
                self.interrupt,
            )  # fmt: skip
            coherence = self._measure_coherence(classifiers)
            outcome = verdict(coherence)
            self.say(outcome)
            notes = self._notes()
            for line in notes:
                self.note(line)
            cells = study_cells(self.design, len(self.model.view_names), self.sampler.steps)
            self._train(cells, classifiers)
            predictions = {cell: self._predict(cell, classifiers, ea) for cell in cells}
            classes = classifiers.classes
            result = ClassificationResult(
                **about,
                checkpoint=self.model.checkpoint_hash,
                solver=self.sampler.solver,
                steps=self.sampler.steps,
                seed=self.sampler.seed,
                classes=list(classes),
                view_names=list(self.model.view_names),
                partitions={"d": self.roles.d and len(self.roles.d), "c": len(c), "e": len(e)},
                coherence=coherence,
                too_weak=is_too_weak(coherence),
                note=outcome,
                notes=notes,
                cells=[
                    cell_result(cell, classifiers.steps(cell.recipe), predicted, e.labels, len(classes))
                    for cell, predicted in predictions.items()
                ],
                comparisons=compare(predictions, e.labels),
                diversity=self._diversity(classifiers, ea),
                skipped=[SkippedInput(file.location, file.reason) for file in self.bad],
            )
            write_result(self.folder / ClassificationResult.file, result)
        return result

    @contextmanager
    def _owned(self) -> Iterator[None]:
        """Keep other processes out, and remove what a killed one left half written."""
        with exclusive_folder(self.folder, "another process works here; wait for it, or choose another --out"):
            for path in self.folder.rglob(".*"):
                if _UNFINISHED.fullmatch(path.name):
                    path.unlink(missing_ok=True)
            yield

    def _read(self, name: str, source: MultiViewSource) -> SingleViews:
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

    def _complete(self, name: str, objects: SingleViews) -> CompletedObjects:
        completed = CompletedObjects(self.folder / GENERATED, f"generating {name}", self.model, objects, self.sampler)
        completed.draw(0, self.watch, self.interrupt)
        return completed

    def _measure_coherence(self, classifiers: TrainedClassifiers) -> CoherenceResult | None:
        """Let a classifier of real views, given or trained on all of d, judge ca; None without either."""
        c, d = classifiers.c, self.roles.d
        if self.judge is not None:
            require_known(classifiers.classes, self.judge.classes, "--judge")
            labels = torch.tensor([self.judge.classes.index(name) for name in classifiers.classes])[c.objects.labels]
            return measure_coherence(classifiers.given_logits(self.judge, c), labels, c.objects)
        if d is None:
            return None
        self.say(f"judge: a {JUDGE}, trained on all views of the {counted(len(d), 'object')} of d")
        seed, validation = self.config.seed, self.config.validation
        plan = ClassifierPlan(JUDGE, self.config.classifier_stage, seed, self.design.weights.get(JUDGE))
        # The pixels of d are not read again to name a finished classifier; those of c, of the same data, stand for
        # them.
        names = "\n".join((*(record.id for record in d.records), *classifiers.classes))
        key = f"{hashlib.sha256(names.encode()).hexdigest()} {c.objects.digest} {validation}"
        run = classifiers.train_on("judge", plan, key, lambda: self._read_all_views(d))
        return measure_coherence(classifiers.logits(run, c), c.objects.labels, c.objects)

    def _read_all_views(self, d: MultiViewSource) -> LabelledImages:
        model, show = self.model, self.watch("reading d", len(d), "objects", 0)
        batch, bad, _ = load_all(
            d, image_size=model.image_size, channels=model.channels, view_names=model.view_names, progress=show
        )
        for file in bad:
            self.note(f"left out of d: {file.location}: {file.reason}")
        return all_views(batch, self.roles.c.classes, self.config.validation, self.config.seed, {"part": "d"})

    def _notes(self) -> list[str]:
        notes = list(self.roles.notes)
        if self.design.weights and self.design.not_fine_tuned:
            notes.append(f"{', '.join(self.design.not_fine_tuned)}: not fine-tuned, for want of --weights")
        elif not self.design.weights:
            notes.append("no --weights were given, so there is no table of fine-tuned classifiers")
        return notes

    def _train(self, cells: list[StudyCell], classifiers: TrainedClassifiers) -> None:
        recipes = list(dict.fromkeys(cell.recipe for cell in cells))
        trainings = list(itertools.product(recipes, self.design.seeds))
        for number, (recipe, seed) in enumerate(trainings, 1):
            work = f"{recipe.classifier} on {recipe.train}, {number} of {len(trainings)}"
            classifiers.train(recipe, seed, work)

    def _predict(self, cell: StudyCell, classifiers: TrainedClassifiers, ea: CompletedObjects) -> Tensor:
        """Labels of the objects of e by the classifier of each seed, int64 [S, N]."""
        asked, objects, rows = cell.inference, ea.objects, []
        if asked.sampler_steps != ea.sampler.steps:
            ea = dataclasses.replace(ea, sampler=dataclasses.replace(ea.sampler, steps=asked.sampler_steps))
        for seed in self.design.seeds:
            run = classifiers.run(cell.recipe, seed)
            draws = [classifiers.logits(run, ea, draw) for draw in range(asked.samples_per_view)]
            if asked.part == "e":
                rows.append(from_known(draws[0], objects))
            elif asked.views < len(objects.view_names):
                rows.append(from_some(draws[0], objects, asked.views, asked.average))
            else:
                rows.append(from_all(draws, asked.average))
        return torch.stack(rows)

    def _diversity(self, classifiers: TrainedClassifiers, ea: CompletedObjects) -> Diversity | None:
        """How much the samples of a generated view differ, if several were asked for.

        Returns:
            ``pixel_deviation``: their standard deviation over samples in 0..1, mean over the pixels of ea;
            ``disagreement``: for each classifier trained on ca, the share of generated views whose samples it does
            not put into one class.
        """
        count = self.design.samples_per_view
        if "samples" not in self.design.beyond or count < 2:
            return None
        generated = ~ea.objects.known()
        draws = torch.stack([ea.draw(number, self.watch, self.interrupt)[generated] for number in range(count)])
        parts = [part.float().std(0).double().mean((1, 2, 3)) for part in draws.split(256, dim=1)]
        deviation = float(torch.cat(parts).mean()) / 255
        disagreement = {}
        for name in self.design.classifiers:
            recipe = Recipe(name, augmented=True, budget=self.design.budgets[0])
            shares = []
            for seed in self.design.seeds:
                run = classifiers.run(recipe, seed)
                labels = torch.stack([classifiers.logits(run, ea, n).argmax(2)[generated] for n in range(count)])
                shares.append(float((labels != labels[0]).any(0).double().mean()))
            disagreement[name] = sum(shares) / len(shares)
        return Diversity(count, deviation, disagreement)


def check_folder(folder: Path) -> None:
    """Raise InputError unless a folder is new, empty or that of a study."""
    if not folder.is_dir():
        return
    names = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
    if names and not names & {GENERATED, CLASSIFIERS, ClassificationResult.file}:
        raise InputError(f"{folder}: not empty, and not a folder of dimvida classify; choose another --out")
