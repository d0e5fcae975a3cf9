"""What ``evaluation.json`` and ``classification.json`` hold, declared once: commands write it, a report reads it back.

Keys stand in the files in the order of the fields. Fields with a default may be missing in files of earlier versions.
A schema number rises where a file of before can no longer be read as one of now. The files of ``train``,
``generate`` and ``reproduce``, and how all are written and read, are in ``files``; those of ``bench`` in
``benchmarks``, ``sampling``, ``generation`` and ``solvers``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

OPTIONAL = {"optional": True}  # left out of the file where it is None

JUDGE = "resnet18"
"""The classifier whose agreement with the true class is coherence, unless another one is given."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number measured on some objects, and where it may lie for others of their kind.

    Attributes:
        mean: The value; NaN where there is none.
        standard_error: Standard error of the value; NaN where it cannot be told, as from a single object.
        low, high: The 95 % interval, or NaN.
        count: Pictures that the value is over.
        equal: Pictures left out of a PSNR because they equal the true ones exactly; None for other metrics.
    """

    mean: float
    standard_error: float = math.nan
    low: float = math.nan
    high: float = math.nan
    count: int = 0
    equal: int | None = field(default=None, metadata=OPTIONAL)

    @property
    def is_measured(self) -> bool:
        """Whether there is a value."""
        return not math.isnan(self.mean)

    @property
    def pictures(self) -> int:
        """Pictures that were looked at, the equal ones among them."""
        return self.count + (self.equal or 0)

    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval, 1.96 standard errors to each side where it is not given; None without either."""
        if not math.isnan(self.low + self.high):
            return self.low, self.high
        margin = 1.96 * self.standard_error
        return None if math.isnan(self.mean + margin) else (self.mean - margin, self.mean + margin)


Scores = dict[str, Estimate]
"""By the metric's name."""


@dataclass(frozen=True, slots=True)
class ScoresOfKnown:
    """Scores where ``known`` views were given, over ``subsets`` of the ``subsets_total`` sets of so many views."""

    known: int
    subsets: int = 0
    subsets_total: int = 0
    objects: int = 0
    scores: Scores = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ScoresOfView:
    """Scores of one generated view where ``known`` views were given."""

    known: int
    view: str
    scores: Scores


@dataclass(frozen=True, slots=True)
class ScoresOfClass:
    """Scores of the objects of one class where ``known`` views were given."""

    known: int
    name: str = field(metadata={"key": "class"})
    objects: int = 0
    scores: Scores = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Comparands:
    """What generated views are compared with: scores of the reconstruction, or of the true views themselves."""

    scores: Scores = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Availability:
    """Whether a metric could be measured, or why not."""

    available: bool
    reason: str | None = field(default=None, metadata=OPTIONAL)


@dataclass(frozen=True, slots=True)
class JudgeFacts:
    """The classifier that judged coherence."""

    name: str
    classes: list[str]
    image_size: int | None = None


@dataclass(frozen=True, slots=True)
class SkippedInput:
    """An input that could not be read, and why; ``source`` is the object left out for it, where that is known."""

    file: str
    reason: str = ""
    source: str | None = field(default=None, metadata=OPTIONAL)


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationResult:
    """``evaluation.json`` of ``dimvida evaluate``.

    Attributes:
        data: The data's name.
        metrics: Those that were asked for, and whether they could be measured.
        reconstruction: Scores of what the autoencoder makes of every view: the ceiling of generated ones.
        reference: Scores of the true views themselves: what a perfect generator would reach.
        per_angle: Of a camera-conditioned model, scores of its ``trained`` angles and of ``untrained`` ones, as views.
        sheet_metric: What the objects on the contact sheets are ranked by.
        sheets: Paths of the contact sheets in the folder by the names best, median and worst; None for ``--json``.
    """

    file: ClassVar[str] = "evaluation.json"
    schema: int = 1
    kind: str = "evaluation"
    command: list[str] = field(default_factory=list)
    versions: dict[str, str | None] = field(default_factory=dict)
    data: str
    splits: list[str] = field(default_factory=list)
    partition: str | None = None
    classes: list[str] = field(default_factory=list)
    view_names: list[str] = field(default_factory=list)
    checkpoint: str | None = None
    solver: str | None = None
    steps: int | None = None
    seed: int | None = None
    dtype: str | None = None
    backend: str | None = None
    objects: int = 0
    left_out: int = 0
    unfamiliar: list[str] = field(default_factory=list)
    judge: JudgeFacts | None = None
    metrics: dict[str, Availability] = field(default_factory=dict)
    known: list[ScoresOfKnown]
    reconstruction: Comparands | None = None
    reference: Comparands | None = None
    per_view: list[ScoresOfView] = field(default_factory=list)
    per_class: list[ScoresOfClass] = field(default_factory=list)
    per_angle: list[ScoresOfView] | None = field(default=None, metadata=OPTIONAL)
    sheet_metric: str | None = None
    skipped: list[SkippedInput] = field(default_factory=list)
    sheets: dict[str, str] | None = field(default=None, metadata=OPTIONAL)


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Accuracies of several seeds, 0 to 1, their mean and their deviation; no deviation for one seed."""

    values: list[float] = field(default_factory=list)
    mean: float = math.nan
    deviation: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AccuracyCell:
    """One cell of a table of accuracies: a classifier, what it was trained on, what it is tested on and how.

    Attributes:
        id: Unique in the file.
        table: ``scratch``, ``finetuned`` or ``beyond``.
        group: For ``beyond``, the question that it answers; "" or None otherwise.
        weights: ``scratch`` or ``finetuned``: what the classifiers started from.
        train: ``c``, ``ca`` or with another augmentation, as ``c+taw``.
        train_samples_per_view: Samples of each generated view that it was trained on.
        model: ``omega_s`` (single views) or ``omega_m`` (with generated views).
        budget: Equal ``steps`` or equal ``epochs``.
        train_steps: Optimiser steps of its classifiers.
        test: ``e``, or ``ea`` with generated views.
        average: How the outputs of the views become one; ``single`` on e.
        views: Views that an answer comes from.
        samples_per_view: Draws of each generated view.
        sampler_steps: Network evaluations that a generated view takes.
        confusion: True x predicted classes, counts summed over seeds.
    """

    id: str
    table: str
    group: str | None = None
    classifier: str
    weights: str | None = None
    train: str
    train_samples_per_view: int = 1
    model: str = ""
    budget: str = "steps"
    train_steps: int | None = None
    test: str
    average: str = "single"
    views: int | None = None
    samples_per_view: int | None = None
    sampler_steps: int | None = None
    accuracy: Accuracy
    confusion: list[list[int]] | None = None


@dataclass(frozen=True, slots=True)
class Comparison:
    """McNemar's test between the cells ``a`` and ``b``: objects that only one of them has right, and the p value."""

    a: str
    b: str
    test: str = "mcnemar"
    only_a: int = 0
    only_b: int = 0
    p: float | None = None


@dataclass(frozen=True, slots=True)
class CoherenceResult:
    """What a classifier of real views makes of generated ones, see ``dimvida.classification.verdict``.

    Attributes:
        mean: Share of the generated views whose object's class it names.
        standard_error: Standard error of the mean, with objects as the independent units; NaN for one object.
        count: Number of generated views.
        real: Its accuracy on the known, real views.
        averaged: Its accuracy averaged over known and generated views.
        p: p value of the hypothesis that the two accuracies are equal.
    """

    mean: float
    standard_error: float = math.nan
    count: int = 0
    real: float | None = None
    averaged: float | None = None
    p: float | None = None


@dataclass(frozen=True, slots=True)
class Diversity:
    """How much the samples of a generated view differ: in their pixels (0 to 1), and in the class they are given."""

    samples_per_view: int
    pixel_deviation: float | None = None
    disagreement: dict[str, float | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassificationResult:
    """``classification.json`` of ``dimvida classify``.

    Attributes:
        partitions: Objects of the parts d, c and e; None for a part that is not there.
        too_weak: Whether averaging over generated views does harm.
        note: What coherence says of the generator, in one sentence.
    """

    file: ClassVar[str] = "classification.json"
    schema: int = 1
    kind: str = "classification"
    command: list[str] = field(default_factory=list)
    versions: dict[str, str | None] = field(default_factory=dict)
    data: str
    checkpoint: str | None = None
    solver: str | None = None
    steps: int | None = None
    seed: int | None = None
    classes: list[str]
    view_names: list[str] = field(default_factory=list)
    partitions: dict[str, int | None] = field(default_factory=dict)
    coherence: CoherenceResult | None = None
    too_weak: bool = False
    note: str | None = None
    notes: list[str] = field(default_factory=list)
    cells: list[AccuracyCell]
    comparisons: list[Comparison] = field(default_factory=list)
    diversity: Diversity | None = None
    skipped: list[SkippedInput] = field(default_factory=list)
