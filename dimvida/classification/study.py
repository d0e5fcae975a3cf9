"""The study: trains every classifier that the questions need, tests it on e and ea, and fills the cells.

All of it is kept on disk and found again: completions by generator, sampler and objects, classifiers by configuration
and data, answers by both. A study that was stopped or killed goes on where it was.
"""

from __future__ import annotations

import dataclasses
import itertools
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from dimvida.classification.answers import from_all, from_known, from_some
from dimvida.classification.arms import Arm
from dimvida.classification.cache import Completions
from dimvida.classification.cells import Cell
from dimvida.classification.design import Asked, Questions, asked_cells
from dimvida.classification.trained import Workshop


@dataclass(slots=True)
class Study:
    """A study of one generator on one data set.

    Attributes:
        questions: What is asked.
        workshop: Trains and remembers.
        e: Completions of the objects that are tested on.
    """

    questions: Questions
    workshop: Workshop
    e: Completions
    _asked: list[Asked] = field(init=False)

    def __post_init__(self) -> None:
        views = len(self.e.objects.view_names)
        self._asked = asked_cells(self.questions, views, self.e.sampler.steps)

    def complete(self) -> None:
        """Generate ca and ea.

        Raises:
            Interrupted: It was interrupted; finished batches are kept.
        """
        for completions in (self.workshop.c, self.e):
            completions.draw(0, self.workshop.watch, self.workshop.interrupt)

    def cells(self) -> list[Cell]:
        """Train what is not trained yet, and fill the cells.

        Raises:
            Interrupted: It was interrupted; what was finished and the state of the classifier in hand are kept.
        """
        arms = list(dict.fromkeys(asked.arm for asked in self._asked))
        trainings = list(itertools.product(arms, self.questions.seeds))
        for number, (arm, seed) in enumerate(trainings, 1):
            work = f"{arm.classifier} on {arm.train}, {number} of {len(trainings)}"
            self.workshop.train(arm, seed, work)
        return [self._cell(asked) for asked in self._asked]

    def diversity(self) -> dict[str, Any] | None:
        """How much the samples of a generated view differ, if several were asked for.

        Returns:
            ``pixel_deviation``: their standard deviation over samples in 0..1, mean over the pixels of ea;
            ``disagreement``: for each classifier trained on ca, the share of generated views whose samples it does
            not put into one class.
        """
        count = self.questions.samples_per_view
        if "samples" not in self.questions.beyond or count < 2:
            return None
        watch, interrupt = self.workshop.watch, self.workshop.interrupt
        generated = ~self.e.objects.known()
        draws = torch.stack([self.e.draw(number, watch, interrupt)[generated] for number in range(count)])
        parts = [part.float().std(0).double().mean((1, 2, 3)) for part in draws.split(256, dim=1)]
        disagreement = {name: self._disagreement(name, generated, count) for name in self.questions.classifiers}
        deviation = float(torch.cat(parts).mean()) / 255
        return {"samples_per_view": count, "pixel_deviation": deviation, "disagreement": disagreement}

    def _disagreement(self, classifier: str, generated: Tensor, count: int) -> float:
        arm = Arm(classifier, augmented=True, budget=self.questions.budgets[0])
        shares = []
        for seed in self.questions.seeds:
            run = self.workshop.run(arm, seed)
            labels = torch.stack(
                [self.workshop.logits(run, self.e, draw).argmax(2)[generated] for draw in range(count)]
            )
            shares.append(float((labels != labels[0]).any(0).double().mean()))
        return sum(shares) / len(shares)

    def _cell(self, asked: Asked) -> Cell:
        predictions = torch.stack([self._answers(asked, seed) for seed in self.questions.seeds])
        return Cell(asked.group, asked.arm, self.workshop.steps(asked.arm), asked.test, predictions)

    def _answers(self, asked: Asked, seed: int) -> Tensor:
        test, run = asked.test, self.workshop.run(asked.arm, seed)
        objects = self.e.objects
        if test.part == "e":
            return from_known(self.workshop.logits(run, self.e), objects)
        sampler = dataclasses.replace(self.e.sampler, steps=test.sampler_steps)
        completions = self.e if sampler == self.e.sampler else dataclasses.replace(self.e, sampler=sampler)
        draws = [self.workshop.logits(run, completions, draw) for draw in range(test.samples_per_view)]
        if test.views < len(objects.view_names):
            return from_some(draws[0], objects, test.views, test.average)
        return from_all(draws, test.average)
