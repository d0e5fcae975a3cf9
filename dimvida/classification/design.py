"""What a study compares: ways to train a classifier, ways to ask it, and the cells of its tables that they make."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from dimvida.errors import InputError, require_choice
from dimvida.models.classifiers import CLASSIFIERS
from dimvida.sampling.classifier import AVERAGES, require_average
from dimvida.training.stage_config import ClassifierStageConfig

SCRATCH, FINETUNED, BEYOND = "scratch", "finetuned", "beyond"  # the tables
BUDGETS = ("steps", "epochs")


@dataclass(frozen=True, slots=True)
class StudyDesign:
    """The questions of a study, from which its cells follow.

    Attributes:
        classifiers: Their architectures, of ``dimvida.models.classifiers.CLASSIFIERS``.
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
        _require_known("--beyond", self.beyond, QUESTION_NAMES)
        require_average(self.average)
        if not (self.classifiers and self.seeds and self.budgets):
            raise InputError("a study needs at least one classifier, one seed and one budget")
        if self.samples_per_view < 1 or min(self.sampler_steps, default=1) < 1:
            raise InputError("--samples-per-view and --sampler-steps must be at least 1")

    def with_sampler_steps(self, steps: int) -> StudyDesign:
        """The design with numbers of steps to ask about: if none are given, a quarter, half and twice the sampler's."""
        if "steps" not in self.beyond or self.sampler_steps:
            return self
        counts = dict.fromkeys(max(1, count) for count in (steps // 4, steps // 2, 2 * steps))
        return replace(self, sampler_steps=tuple(counts))

    @property
    def not_fine_tuned(self) -> tuple[str, ...]:
        """Classifiers that no weights are given for."""
        return tuple(name for name in self.classifiers if name not in self.weights)


@dataclass(frozen=True, slots=True)
class Recipe:
    """One way to train a classifier; each seed gives one classifier.

    Attributes:
        classifier: One of ``dimvida.models.classifiers.CLASSIFIERS``.
        weights: What it starts from, None for random weights.
        augmented: Also trained on the generated views (ca), which makes it Omega_m instead of Omega_s.
        draws: Samples of each generated view.
        transformed: Trained with TrivialAugmentWide.
        budget: What is equal to Omega_s: the number of optimiser ``steps``, or of passes over its set (``epochs``).
    """

    classifier: str
    weights: str | None = None
    augmented: bool = False
    draws: int = 1
    transformed: bool = False
    budget: str = "steps"

    @property
    def train(self) -> str:
        """The set that it is trained on: ``c``, ``ca``, ``c+taw`` or ``ca+taw``."""
        return ("ca" if self.augmented else "c") + ("+taw" if self.transformed else "")

    @property
    def model(self) -> str:
        """What the paper calls a classifier that is trained so: ``omega_s`` or ``omega_m``."""
        return "omega_m" if self.augmented else "omega_s"

    @property
    def table(self) -> str:
        """Which of the two tables it is in."""
        return SCRATCH if self.weights is None else FINETUNED

    def pictures(self, views: int) -> int:
        """Pictures of each object, with V views."""
        return 1 + (views - 1) * self.draws if self.augmented else 1

    def stage(self, config: ClassifierStageConfig, objects: int, views: int) -> ClassifierStageConfig:
        """The training's configuration, its length fixed by the budget.

        Args:
            config: What Omega_s has: its steps, or its epochs over c.
            objects: Objects in c.
            views: Number V of views of an object.
        """
        steps = config.total_steps(objects)
        if self.budget == "epochs":
            steps *= self.pictures(views)
        augment = "trivial-augment-wide" if self.transformed else config.augment
        return replace(config, steps=steps, augment=augment)


@dataclass(frozen=True, slots=True)
class Inference:
    """One way to ask a classifier about an object.

    Attributes:
        part: ``e``: on the known view alone; ``ea``: on the mean over known and generated views.
        average: ``single`` on e, else one of ``dimvida.sampling.classifier.AVERAGES``.
        views: Views that an answer comes from.
        samples_per_view: Draws of each generated view.
        sampler_steps: Network evaluations that a generated view takes.
    """

    part: str
    average: str
    views: int
    samples_per_view: int
    sampler_steps: int


@dataclass(frozen=True, slots=True)
class StudyCell:
    """One cell of a study's tables.

    Attributes:
        group: Which question it belongs to beyond the paper's tables, "" in these.
        recipe: What its classifiers are and what they are trained on.
        inference: What views they are shown, and how their answers become one.
    """

    group: str
    recipe: Recipe
    inference: Inference

    @property
    def table(self) -> str:
        """``scratch``, ``finetuned`` or ``beyond``."""
        return BEYOND if self.group else self.recipe.table

    @property
    def id(self) -> str:
        """Unique in a study."""
        recipe, asked = self.recipe, self.inference
        trained = f"{recipe.train}x{recipe.draws}" if recipe.draws > 1 else recipe.train
        tested = f"{asked.part}/{asked.average}/{asked.views}x{asked.samples_per_view}/{asked.sampler_steps}"
        return "/".join(filter(None, (self.table, self.group, recipe.classifier, trained, recipe.budget, tested)))


def study_cells(design: StudyDesign, views: int, steps: int) -> list[StudyCell]:
    """Every cell of a study, the paper's tables first.

    Args:
        design: Which classifiers, tables and questions the study has.
        views: Number V of views.
        steps: Network evaluations of the sampler.
    """
    single, mean = Inference("e", "single", 1, 1, steps), Inference("ea", design.average, views, 1, steps)
    cells = []
    for weights in ({}, design.weights):
        for name in design.classifiers:
            if weights is design.weights and name not in weights:
                continue
            small = Recipe(name, weights.get(name))
            augmented = [replace(small, augmented=True, budget=budget) for budget in design.budgets]
            pairs = itertools.product((small, *augmented), (single, mean))
            cells += [StudyCell("", *pair) for pair in pairs]
    for group in design.beyond:
        for name in design.classifiers:
            recipes = Recipe(name), Recipe(name, augmented=True, budget=design.budgets[0])
            cells += [StudyCell(group, *pair) for pair in _QUESTIONS[group](design, *recipes, single, mean)]
    return cells


_Pairs = Iterable[tuple[Recipe, Inference]]


def _averaging(design: StudyDesign, small: Recipe, augmented: Recipe, single: Inference, mean: Inference) -> _Pairs:
    """Is another mean better?"""
    averages = dict.fromkeys((design.average, *AVERAGES))
    return itertools.product((augmented, small), [replace(mean, average=average) for average in averages])


def _samples(design: StudyDesign, small: Recipe, augmented: Recipe, single: Inference, mean: Inference) -> _Pairs:
    """Do several, different samples of a view help, at test time and in training?"""
    most = design.samples_per_view
    counts = [count for count in (2**power for power in range(most.bit_length())) if count < most] + [most]
    asked = [replace(mean, samples_per_view=count) for count in counts]
    pairs = list(itertools.product((augmented, small), asked))
    if most > 1:
        pairs += itertools.product([replace(augmented, draws=most)], (single, asked[0], asked[-1]))
    return pairs


def _augmentation(design: StudyDesign, small: Recipe, augmented: Recipe, single: Inference, mean: Inference) -> _Pairs:
    """Standard augmentation alone, generated views alone, both."""
    recipes = (small, replace(small, transformed=True), augmented, replace(augmented, transformed=True))
    return itertools.product(recipes, (single, mean))


def _views(design: StudyDesign, small: Recipe, augmented: Recipe, single: Inference, mean: Inference) -> _Pairs:
    """How many generated views does it take?"""
    more = [replace(mean, views=count) for count in range(2, mean.views + 1)]
    return itertools.product((augmented, small), (single, *more))


def _steps(design: StudyDesign, small: Recipe, augmented: Recipe, single: Inference, mean: Inference) -> _Pairs:
    """How well must views be sampled? Those of the training stay as they are."""
    others = [replace(mean, sampler_steps=steps) for steps in design.sampler_steps if steps != mean.sampler_steps]
    return itertools.product((augmented, small), (mean, *others))


_QUESTIONS = {
    "averaging": _averaging,
    "samples": _samples,
    "augmentation": _augmentation,
    "views": _views,
    "steps": _steps,
}
QUESTION_NAMES = tuple(_QUESTIONS)
"""Groups of cells beyond the paper's tables."""


def _require_known(what: str, names: tuple[str, ...], known: tuple[str, ...]) -> None:
    for name in names:
        require_choice(what, name, known)
    if len(set(names)) < len(names):
        raise InputError(f"{what}: a name is there twice")
