"""What a chain is asked, and its stages as command lines that anyone can run by hand."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dimvida.data.nmr_arrays import parse_nmr_views
from dimvida.data.opening import open_source
from dimvida.data.sample import locate
from dimvida.data.source import MultiViewSource
from dimvida.errors import InputError
from dimvida.remote import shown
from dimvida.results.files import CLASSIFIER, ClassifierTraining, TrainingResult
from dimvida.results.schema import JUDGE
from dimvida.training.config import load_preset

if TYPE_CHECKING:
    from dimvida.reproduction.budget import StageLengths


NMR_PREFIX = "nmr:"

PARTITION, MODEL, EVALUATION = "partition.json", "model", "evaluation"
CLASSIFICATION, REPORT = "classification", "report"


@dataclass(frozen=True, slots=True)
class ChainOptions:
    """The options of a chain that decide about its results.

    Attributes:
        data: The data set, a path or a URL.
        preset: The preset of training and of classification.
        budget: Minutes for all of it, or 0 for the preset's own lengths.
        seeds: Classifiers of each kind.
        seed: Seeds everything else that is random.
        classifiers: Names, divided by commas.
        weights: For classifiers that are fine-tuned too, as ``dimvida classify`` takes them.
        inception_weights, lpips_weights: Files for FID and LPIPS.
        beyond: Questions beyond the paper's tables, as ``dimvida classify`` takes them.
        values: Replaced values of the preset, as ``table.option=value``.
        init: Checkpoint whose weights training starts from, as ``dimvida train`` takes it.
        nmr_views: The views of NMR that are read, as commands take them.

    Raises:
        InputError: A preset's value does not fit, or a number is out of range.
    """

    data: Path | str
    preset: str = "paper"
    budget: float = 0
    seeds: int = 3
    seed: int = 0
    classifiers: str = "resnet18,mobilenet-v3-large"
    weights: tuple[str, ...] = ()
    inception_weights: Path | None = None
    lpips_weights: Path | None = None
    beyond: str | None = None
    values: tuple[str, ...] = ()
    init: str | None = None
    nmr_views: str | None = None

    def __post_init__(self) -> None:
        load_preset(self.preset, self.overrides)
        if not self.budget >= 0 or self.seeds < 1 or self.seed < 0:
            raise InputError(
                f"--minutes {self.budget:g}, --seeds {self.seeds}, --seed {self.seed}: must be at least 0, 1 and 0"
            )

    @property
    def overrides(self) -> tuple[str, ...]:
        """All replaced values of the preset."""
        return (*((f"seed={self.seed}",) if self.seed else ()), *self.values)

    def describe(self, source: MultiViewSource) -> dict[str, Any]:
        """For JSON: the options, the data's name and form. Equal descriptions may continue each other."""
        options = {
            field.name: str(value) if isinstance(value := getattr(self, field.name), Path) else value
            for field in dataclasses.fields(self)
        }
        data = shown(self.data) if isinstance(self.data, str) else str(self.data.resolve())
        options |= {"data": data, "weights": list(self.weights), "values": list(self.values)}
        return {**options, "name": Path(data).name, "form": source.form, "objects": len(source)}


def parse_data(text: str) -> Path | str:
    """The path or URL in ``--data``, which may say ``nmr:`` to insist on that data set."""
    return locate(text.removeprefix(NMR_PREFIX))


def open_data(text: str, nmr_views: str | None = None) -> MultiViewSource:
    """Open what ``--data`` names, of NMR those views.

    Raises:
        InputError: It cannot be opened, is not NMR though it should be, or has one view or no classes.
    """
    source = open_source(parse_data(text), nmr_views=parse_nmr_views(nmr_views))
    if text.startswith(NMR_PREFIX) and not source.form.startswith("nmr-"):
        raise InputError(f"--data {text}: not the NMR data set but {source.form}; leave out {NMR_PREFIX!r} to use it")
    if len(source.view_names) < 2:
        raise InputError(f"--data {text}: has one view per object; a chain needs several")
    if len([name for name in source.classes if name]) < 2:
        raise InputError(f"--data {text}: has fewer than two classes; classifiers need them")
    return source


@dataclass(frozen=True, slots=True)
class ChainStage:
    """A stage, which is one command line.

    Attributes:
        name: A word or two that say what it does.
        result: What it makes, a file or folder below the chain's.
        arguments: The command line, without the program's name.
        begun: What is there once it began, where continuing needs ``--resume``.
    """

    name: str
    result: str
    arguments: tuple[str, ...]
    begun: Path | None = None

    @property
    def command(self) -> list[str]:
        """The command line that starts or, if something is there, continues it."""
        resume = ["--resume"] if self.begun is not None and self.begun.exists() else []
        return [*self.arguments, *resume]


@dataclass(frozen=True, slots=True)
class StageMaker:
    """Makes the stages of a chain.

    Attributes:
        options: What the chain is asked to do.
        out: The chain's folder.
        device: The device that computes.
        skip_bad: Unreadable files are no error.
        plan: Lengths that fit a budget; None takes the preset's.
    """

    options: ChainOptions
    out: Path
    device: str = "auto"
    skip_bad: bool = False
    plan: StageLengths | None = None

    def all(self) -> list[ChainStage]:
        """Every stage in order."""
        return [
            self.partition(),
            self.model(),
            self.classifier(self.out / MODEL, JUDGE, self._judge_weights()),
            self.evaluation(),
            self.classification(),
            self.report(),
        ]

    def partition(self) -> ChainStage:
        """Parts d, c and e."""
        place = ("--out", str(self.out / PARTITION), "--overwrite")
        return ChainStage(
            "partition",
            PARTITION,
            ("data", "partition", str(self.options.data), *place, "--seed", str(self.options.seed)),
        )

    def model(self) -> ChainStage:
        """Autoencoder and diffusion."""
        model = self.out / MODEL
        values = self._set(*(self.plan.model_values() if self.plan else ()))
        init = ("--init", self.options.init) if self.options.init else ()
        return ChainStage(
            "model", MODEL, (*self._train(model), *init, *values, *self._machine()), model / TrainingResult.file
        )

    def classifier(self, out: Path, name: str, weights: str | None = None) -> ChainStage:
        """A classifier of all views of d."""
        kind = ("--stage", "classifier", "--classifier", name, *(("--weights", weights) if weights else ()))
        values = self._set(*(self.plan.judge_values() if self.plan else ()))
        arguments = (*self._train(out), *kind, *values, *self._machine())
        return ChainStage(
            "classifier for coherence", f"{MODEL}/{CLASSIFIER}", arguments, out / CLASSIFIER / ClassifierTraining.file
        )

    def evaluation(self) -> ChainStage:
        """The evaluation of the paper's Table I."""
        files = (
            ("--inception-weights", self.options.inception_weights),
            ("--lpips-weights", self.options.lpips_weights),
        )
        weights = (part for name, path in files if path is not None for part in (name, str(path)))
        limit = ("--limit", str(self.plan.evaluated)) if self.plan else ()
        return ChainStage(
            "evaluation",
            EVALUATION,
            (
                *("evaluate", *self._parts(), "--checkpoint", str(self.out / MODEL)),
                *("--judge", str(self.out / MODEL / CLASSIFIER), *weights, *limit),
                *("--out", str(self.out / EVALUATION), "--overwrite", "--seed", str(self.options.seed)),
                *self._machine(),
            ),
        )

    def classification(self) -> ChainStage:
        """Tables II and III."""
        options = self.options
        weights = (part for text in options.weights for part in ("--weights", text))
        return ChainStage(
            "classification",
            CLASSIFICATION,
            (
                *("classify", *self._parts(), "--checkpoint", str(self.out / MODEL)),
                *("--judge", str(self.out / MODEL / CLASSIFIER)),
                *("--out", str(self.out / CLASSIFICATION), "--preset", options.preset),
                *("--classifiers", options.classifiers, *weights),
                *("--seeds", str(options.seeds), "--seed", str(options.seed)),
                # Training to equal epochs takes V times as long.
                *("--budget", "steps" if self.plan else "both"),
                *(("--beyond", options.beyond) if options.beyond else ()),
                *self._set(*(self.plan.study_values() if self.plan else ())),
                *self._machine(),
            ),
        )

    def report(self) -> ChainStage:
        """All of it on one page."""
        return ChainStage("report", REPORT, ("report", str(self.out), "--out", str(self.out / REPORT)))

    def _parts(self) -> tuple[str, ...]:
        views = ("--nmr-views", self.options.nmr_views) if self.options.nmr_views else ()
        return "--data", str(self.options.data), *views, "--partition", str(self.out / PARTITION)

    def _train(self, out: Path) -> tuple[str, ...]:
        return "train", *self._parts(), "--out", str(out), "--preset", self.options.preset

    def _machine(self) -> tuple[str, ...]:
        return "--device", self.device, *(("--skip-bad",) if self.skip_bad else ())

    def _set(self, *planned: str) -> Iterator[str]:
        for value in (*planned, *self.options.overrides):  # what the user replaced comes last, so that it wins
            yield from ("--set", value)

    def _judge_weights(self) -> str | None:
        for text in self.options.weights:
            name, separator, value = text.partition("=")
            if not separator or name == JUDGE:
                return value or text
        return None
