"""The cells of the tables: a way to train, a way to test, and how many objects came out right."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dimvida.classification.arms import Arm
from dimvida.classification.mcnemar import mcnemar

BEYOND = "beyond"


@dataclass(frozen=True, slots=True)
class Test:
    """How a classifier is tested.

    Attributes:
        part: ``e``: on the known view alone; ``ea``: on the mean over known and generated views.
        average: ``single`` on e, else one of ``dimvida.sampling.classifier.AVERAGES``.
        views: Views that an answer comes from.
        samples_per_view: Draws of each generated view.
        sampler_steps: Network evaluations that a generated view takes.
    """

    __test__ = False  # no test of pytest's

    part: str
    average: str
    views: int
    samples_per_view: int
    sampler_steps: int


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell.

    Attributes:
        group: Which question it belongs to beyond the paper's tables, "" in these.
        arm: How its classifiers were trained.
        train_steps: Optimiser steps of that.
        test: How they were tested.
        predictions: Predicted labels, int64 [S, N], of S seeds.
    """

    group: str
    arm: Arm
    train_steps: int
    test: Test
    predictions: Tensor

    @property
    def table(self) -> str:
        """``scratch``, ``finetuned`` or ``beyond``."""
        return BEYOND if self.group else self.arm.table

    @property
    def id(self) -> str:
        """Unique in a study."""
        arm, test = self.arm, self.test
        trained = f"{arm.train}x{arm.draws}" if arm.draws > 1 else arm.train
        tested = f"{test.part}/{test.average}/{test.views}x{test.samples_per_view}/{test.sampler_steps}"
        return "/".join(filter(None, (self.table, self.group, arm.classifier, trained, arm.budget, tested)))

    def right(self, labels: Tensor) -> Tensor:
        """Which objects more than half of the seeds' classifiers have right, bool [N]."""
        return (self.predictions == labels).double().mean(0) > 0.5

    def accuracies(self, labels: Tensor) -> list[float]:
        """Of each seed, in 0..1."""
        return (self.predictions == labels).double().mean(1).tolist()

    def to_dict(self, labels: Tensor, classes: int) -> dict[str, Any]:
        """For JSON.

        Args:
            labels: True labels, int64 [N].
            classes: How many there are.
        """
        arm, test = self.arm, self.test
        return {
            "id": self.id,
            "table": self.table,
            "group": self.group,
            "classifier": arm.classifier,
            "weights": arm.table,
            "train": arm.train,
            "train_samples_per_view": arm.draws,
            "model": arm.model,
            "budget": arm.budget,
            "train_steps": self.train_steps,
            "test": test.part,
            "average": test.average,
            "views": test.views,
            "samples_per_view": test.samples_per_view,
            "sampler_steps": test.sampler_steps,
            "accuracy": accuracy(self.accuracies(labels)),
            "confusion": confusion(self.predictions, labels, classes),
        }


def accuracy(values: Sequence[float]) -> dict[str, Any]:
    """Mean and sample standard deviation over seeds; no deviation for one seed."""
    deviation = statistics.stdev(values) if len(values) > 1 else None
    return {"values": list(values), "mean": statistics.fmean(values), "deviation": deviation}


def confusion(predictions: Tensor, labels: Tensor, classes: int) -> list[list[int]]:
    """How often each true class (row) was taken for each class (column), summed over seeds."""
    pairs = labels.expand_as(predictions) * classes + predictions
    return torch.bincount(pairs.flatten(), minlength=classes**2).view(classes, classes).tolist()


def compare(cells: Sequence[Cell], labels: Tensor) -> list[dict[str, Any]]:
    """McNemar's test between cells of one classifier: every pair in the paper's tables, beyond them with the first.

    An object counts once, however many seeds there are: as right where more than half of them have it right.
    """
    groups: dict[tuple[str, ...], list[Cell]] = {}
    for cell in cells:
        groups.setdefault((cell.table, cell.group, cell.arm.classifier, cell.arm.table), []).append(cell)
    results = []
    for members in groups.values():
        right = [cell.right(labels) for cell in members]
        for first in range(1 if members[0].group else len(members)):
            for second in range(first + 1, len(members)):
                test = mcnemar(right[first], right[second])
                pair = {"a": members[first].id, "b": members[second].id, "test": "mcnemar"}
                results.append({**pair, "only_a": test.only_a, "only_b": test.only_b, "p": test.p})
    return results
