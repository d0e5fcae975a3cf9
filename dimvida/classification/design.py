"""Which cells a study has: the paper's two tables, and the questions beyond them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from dimvida.classification.arms import BUDGETS, Arm
from dimvida.classification.cells import Test
from dimvida.errors import InputError
from dimvida.models.classifiers import CLASSIFIERS
from dimvida.sampling.classifier import AVERAGES, require_average

GROUPS = ("averaging", "samples", "augmentation", "views", "steps")


@dataclass(frozen=True, slots=True)
class Questions:
    """What a study is asked.

    Attributes:
        classifiers: Architectures.
        weights: For the table of fine-tuned ones, what each starts from; those without are not fine-tuned.
        seeds: A classifier is trained with each.
        budgets: How the training of Omega_m is matched to that of Omega_s.
        average: How the outputs of an object's views become one.
        beyond: Groups of cells beyond the paper's tables.
        samples_per_view: Most samples of a generated view, in the group ``samples``.
        sampler_steps: Numbers of network evaluations, in the group ``steps``.

    Raises:
        InputError: For an unknown name, or nothing to train.
    """

    classifiers: tuple[str, ...]
    weights: Mapping[str, str]
    seeds: tuple[int, ...]
    budgets: tuple[str, ...] = ("steps",)
    average: str = "probabilities"
    beyond: tuple[str, ...] = ()
    samples_per_view: int = 4
    sampler_steps: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        _require_known("classifier", self.classifiers, CLASSIFIERS)
        _require_known("weights of", tuple(self.weights), self.classifiers)
        _require_known("budget", self.budgets, BUDGETS)
        _require_known("--beyond", self.beyond, GROUPS)
        require_average(self.average)
        if not (self.classifiers and self.seeds and self.budgets):
            raise InputError("a study needs at least one classifier, one seed and one budget")
        if self.samples_per_view < 1 or min(self.sampler_steps, default=1) < 1:
            raise InputError("--samples-per-view and --sampler-steps must be at least 1")

    def with_sampler_steps(self, steps: int) -> Questions:
        """The same; if ``steps`` is asked about but no numbers are given: a quarter, half and twice the sampler's."""
        if "steps" not in self.beyond or self.sampler_steps:
            return self
        counts = dict.fromkeys(max(1, count) for count in (steps // 4, steps // 2, 2 * steps))
        return dataclasses.replace(self, sampler_steps=tuple(counts))

    @property
    def not_fine_tuned(self) -> tuple[str, ...]:
        """Classifiers that no weights are given for."""
        return tuple(name for name in self.classifiers if name not in self.weights)


@dataclass(frozen=True, slots=True)
class Asked:
    """A cell before it is answered."""

    group: str
    arm: Arm
    test: Test


def asked_cells(questions: Questions, views: int, steps: int) -> list[Asked]:
    """Every cell of a study, the paper's tables first.

    Args:
        questions: What is asked.
        views: Number V of views.
        steps: Network evaluations of the sampler.
    """
    single, mean = Test("e", "single", 1, 1, steps), Test("ea", questions.average, views, 1, steps)
    cells = []
    for weights in ({}, questions.weights):
        for name in questions.classifiers:
            if weights is questions.weights and name not in weights:
                continue
            small = Arm(name, weights.get(name))
            augmented = [dataclasses.replace(small, augmented=True, budget=budget) for budget in questions.budgets]
            cells += [Asked("", arm, test) for arm in (small, *augmented) for test in (single, mean)]
    ask = {
        "averaging": _averaging,
        "samples": _samples,
        "augmentation": _augmentation,
        "views": _views,
        "steps": _steps,
    }
    for group in questions.beyond:
        for name in questions.classifiers:
            arms = Arm(name), Arm(name, augmented=True, budget=questions.budgets[0])
            cells += [Asked(group, arm, test) for arm, test in ask[group](questions, *arms, single, mean)]
    return cells


_Pairs = Iterator[tuple[Arm, Test]]


def _averaging(questions: Questions, small: Arm, augmented: Arm, single: Test, mean: Test) -> _Pairs:
    """Is another mean better?"""
    averages = (questions.average, *(name for name in AVERAGES if name != questions.average))
    for arm in (augmented, small):
        for average in averages:
            yield arm, dataclasses.replace(mean, average=average)


def _samples(questions: Questions, small: Arm, augmented: Arm, single: Test, mean: Test) -> _Pairs:
    """Do several, different samples of a view help, at test time and in training?"""
    most = questions.samples_per_view
    counts = [count for count in (2**power for power in range(most.bit_length())) if count < most] + [most]
    tests = [dataclasses.replace(mean, samples_per_view=count) for count in counts]
    for arm in (augmented, small):
        for test in tests:
            yield arm, test
    if most > 1:
        trained = dataclasses.replace(augmented, draws=most)
        for test in (single, tests[0], tests[-1]):
            yield trained, test


def _augmentation(questions: Questions, small: Arm, augmented: Arm, single: Test, mean: Test) -> _Pairs:
    """Standard augmentation alone, generated views alone, both."""
    for arm in (small, dataclasses.replace(small, transformed=True)):
        for test in (single, mean):
            yield arm, test
    for arm in (augmented, dataclasses.replace(augmented, transformed=True)):
        for test in (single, mean):
            yield arm, test


def _views(questions: Questions, small: Arm, augmented: Arm, single: Test, mean: Test) -> _Pairs:
    """How many generated views does it take?"""
    for arm in (augmented, small):
        yield arm, single
        for count in range(2, mean.views + 1):
            yield arm, dataclasses.replace(mean, views=count)


def _steps(questions: Questions, small: Arm, augmented: Arm, single: Test, mean: Test) -> _Pairs:
    """How well must views be sampled? Those of the training stay as they are."""
    for arm in (augmented, small):
        yield arm, mean
        for steps in questions.sampler_steps:
            if steps != mean.sampler_steps:
                yield arm, dataclasses.replace(mean, sampler_steps=steps)


def _require_known(what: str, names: tuple[str, ...], known: tuple[str, ...]) -> None:
    for name in names:
        if name not in known:
            raise InputError(f"{what} {name!r}: choose from {', '.join(known)}")
    if len(set(names)) < len(names):
        raise InputError(f"{what}: a name is there twice")
