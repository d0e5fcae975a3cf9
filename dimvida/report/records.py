"""What the result files of the commands hold, as far as a report shows it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Score:
    """A metric's mean over ``count`` pictures, with its standard error and a 95 % interval where there is one."""

    mean: float | None = None
    standard_error: float | None = None
    low: float | None = None
    high: float | None = None
    count: int = 0
    equal: int = 0


@dataclass(frozen=True, slots=True)
class Scores:
    """Scores by metric."""

    scores: dict[str, Score] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class KnownScores:
    """Scores where ``known`` views were given, over ``subsets`` of the ``subsets_total`` choices of them."""

    known: int
    scores: dict[str, Score]
    subsets: int = 0
    subsets_total: int = 0
    objects: int = 0


@dataclass(frozen=True, slots=True)
class ViewScores:
    """Scores of one generated view."""

    known: int
    view: str
    scores: dict[str, Score]


@dataclass(frozen=True, slots=True)
class ClassScores:
    """Scores of one class's objects."""

    known: int
    class_name: str = field(metadata={"key": "class"})
    scores: dict[str, Score]
    objects: int = 0


@dataclass(frozen=True, slots=True)
class Availability:
    """Whether a metric could be computed, or why not."""

    available: bool
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """``evaluation.json`` of ``dimvida evaluate``."""

    data: str
    known: list[KnownScores]
    schema: int = 1
    command: list[str] = field(default_factory=list)
    versions: dict[str, Any] = field(default_factory=dict)
    splits: list[str] = field(default_factory=list)
    objects: int = 0
    checkpoint: str | None = None
    solver: str | None = None
    steps: int | None = None
    seed: int | None = None
    dtype: str | None = None
    backend: str | None = None
    metrics: dict[str, Availability] = field(default_factory=dict)
    reconstruction: Scores | None = None
    reference: Scores | None = None
    per_view: list[ViewScores] = field(default_factory=list)
    per_class: list[ClassScores] = field(default_factory=list)
    sheets: dict[str, str] = field(default_factory=dict)
    sheet_metric: str | None = None
    skipped: list[Any] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Accuracies of several seeds, 0 to 1."""

    mean: float | None = None
    deviation: float | None = None
    values: list[float | None] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class ClassifierCell:
    """One cell of a table of accuracies: a classifier, what it was trained on, what it is tested on and how.

    Attributes:
        id: Unique in the file.
        table: ``scratch``, ``finetuned`` or ``beyond``.
        group: For ``beyond``, the question that it answers.
        train: ``c``, ``ca`` or with another augmentation, as ``c+taw``.
        model: ``omega_s`` (single views) or ``omega_m`` (with generated views).
        budget: Equal ``steps`` or equal ``epochs``.
        test: ``e``, or ``ea`` with generated views.
        average: How the outputs of the views become one.
        train_samples_per_view: Samples of each generated view that it was trained on.
        confusion: True x predicted classes, counts.
    """

    id: str
    table: str
    classifier: str
    train: str
    test: str
    accuracy: Accuracy
    group: str | None = None
    model: str = ""
    budget: str = "steps"
    average: str = "single"
    train_steps: int | None = None
    views: int | None = None
    samples_per_view: int | None = None
    sampler_steps: int | None = None
    train_samples_per_view: int = 1
    confusion: list[list[int]] | None = None


@dataclass(frozen=True, slots=True)
class Comparison:
    """McNemar's test between two cells: objects that only one of them has right, and the p value."""

    a: str
    b: str
    only_a: int
    only_b: int
    p: float | None = None
    test: str = "mcnemar"


@dataclass(frozen=True, slots=True)
class Diversity:
    """How much the samples of a generated view differ: in their pixels (0 to 1), and in the class they are given."""

    samples_per_view: int
    pixel_deviation: float | None = None
    disagreement: dict[str, float | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Classification:
    """``classification.json`` of ``dimvida classify``."""

    data: str
    classes: list[str]
    cells: list[ClassifierCell]
    schema: int = 1
    command: list[str] = field(default_factory=list)
    versions: dict[str, Any] = field(default_factory=dict)
    checkpoint: str | None = None
    solver: str | None = None
    steps: int | None = None
    seed: int | None = None
    partitions: dict[str, int | None] = field(default_factory=dict)
    coherence: Score | None = None
    too_weak: bool = False
    note: str | None = None
    notes: list[str] = field(default_factory=list)
    comparisons: list[Comparison] = field(default_factory=list)
    diversity: Diversity | None = None
    skipped: list[Any] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class SolverPoint:
    """Quality of one solver with one number of network evaluations."""

    solver: str
    steps: int
    psnr_true: Score
    distance_true: float | None = None
    distance_reference: float | None = None


@dataclass(frozen=True, slots=True)
class SolverScores:
    """Points of all solvers for one number of known views."""

    known: int
    points: list[SolverPoint]
    reference: SolverPoint | None = None
    another_draw: SolverPoint | None = None


@dataclass(frozen=True, slots=True)
class Solvers:
    """``solvers.json`` of ``dimvida bench solvers --json``."""

    known: list[SolverScores]
    schema: int = 1
    complete: bool = True
    versions: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    skipped: list[Any] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Training:
    """``run.json`` of ``dimvida train``, and the learning curves beside it."""

    configuration: dict[str, Any]
    data: dict[str, Any]
    command: list[str] = field(default_factory=list)
    versions: dict[str, Any] = field(default_factory=dict)
    init: str | None = None
    skipped: list[Any] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class ChainStage:
    """One stage of ``dimvida reproduce``: its command line, its folder in the chain's, whether it finished."""

    name: str
    command: list[str]
    folder: str
    finished: bool
    minutes: float | None = None


@dataclass(frozen=True, slots=True)
class Chain:
    """``reproduce.json`` of ``dimvida reproduce``."""

    configuration: dict[str, Any]
    stages: list[ChainStage]
    schema: int = 1
    command: list[str] = field(default_factory=list)
    versions: dict[str, Any] = field(default_factory=dict)
