"""The stages of a chain as command lines that anyone can run by hand."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dimvida.reproduction.plan import Plan
from dimvida.reproduction.settings import Settings

# The classifier whose agreement with the true class is coherence.
JUDGE = "resnet18"

PARTITION, MODEL, CLASSIFIER, EVALUATION, CLASSIFICATION, REPORT = (
    "partition.json", "model", "classifier", "evaluation", "classification", "report",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage.

    Attributes:
        name: What it does, a word or two.
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
        settings: What is asked.
        out: The chain's folder.
        device: Where to compute.
        skip_bad: Unreadable files are no error.
        plan: Lengths that fit a budget; None takes the preset's.
    """

    settings: Settings
    out: Path
    device: str = "auto"
    skip_bad: bool = False
    plan: Plan | None = None

    def all(self) -> list[Stage]:
        """Every stage in order."""
        return [
            self.partition(),
            self.model(),
            self.classifier(self.out / MODEL, JUDGE, self._judge_weights()),
            self.evaluation(),
            self.classification(),
            self.report(),
        ]

    def partition(self) -> Stage:
        """Parts d, c and e."""
        place = ("--out", str(self.out / PARTITION), "--overwrite")
        return Stage(
            "partition",
            PARTITION,
            ("data", "partition", str(self.settings.data), *place, "--seed", str(self.settings.seed)),
        )

    def model(self) -> Stage:
        """Autoencoder and diffusion."""
        model = self.out / MODEL
        values = self._set(*(self.plan.model_values() if self.plan else ()))
        init = ("--init", self.settings.init) if self.settings.init else ()
        return Stage("model", MODEL, (*self._train(model), *init, *values, *self._machine()), model / "run.json")

    def classifier(self, out: Path, name: str, weights: str | None = None) -> Stage:
        """A classifier of all views of d."""
        kind = ("--stage", "classifier", "--classifier", name, *(("--weights", weights) if weights else ()))
        values = self._set(*(self.plan.judge_values() if self.plan else ()))
        arguments = (*self._train(out), *kind, *values, *self._machine())
        return Stage("classifier for coherence", f"{MODEL}/{CLASSIFIER}", arguments, out / CLASSIFIER / "training.json")

    def evaluation(self) -> Stage:
        """Table I."""
        files = (
            ("--inception-weights", self.settings.inception_weights),
            ("--lpips-weights", self.settings.lpips_weights),
        )
        weights = (part for option, path in files if path is not None for part in (option, str(path)))
        limit = ("--limit", str(self.plan.evaluated)) if self.plan else ()
        return Stage(
            "evaluation",
            EVALUATION,
            (
                *("evaluate", *self._parts(), "--checkpoint", str(self.out / MODEL)),
                *("--judge", str(self.out / MODEL / CLASSIFIER), *weights, *limit),
                *("--out", str(self.out / EVALUATION), "--overwrite", "--seed", str(self.settings.seed)),
                *self._machine(),
            ),
        )

    def classification(self) -> Stage:
        """Tables II and III."""
        settings = self.settings
        weights = (part for text in settings.weights for part in ("--weights", text))
        return Stage(
            "classification",
            CLASSIFICATION,
            (
                *("classify", *self._parts(), "--checkpoint", str(self.out / MODEL)),
                *("--judge", str(self.out / MODEL / CLASSIFIER)),
                *("--out", str(self.out / CLASSIFICATION), "--preset", settings.preset),
                *("--classifiers", settings.classifiers, *weights),
                *("--seeds", str(settings.seeds), "--seed", str(settings.seed)),
                # Training to equal epochs takes V times as long.
                *("--budget", "steps" if self.plan else "both"),
                *(("--beyond", settings.beyond) if settings.beyond else ()),
                *self._set(*(self.plan.study_values() if self.plan else ())),
                *self._machine(),
            ),
        )

    def report(self) -> Stage:
        """All of it on one page."""
        return Stage("report", REPORT, ("report", str(self.out), "--out", str(self.out / REPORT)))

    def _parts(self) -> tuple[str, ...]:
        return "--data", str(self.settings.data), "--partition", str(self.out / PARTITION)

    def _train(self, out: Path) -> tuple[str, ...]:
        return "train", *self._parts(), "--out", str(out), "--preset", self.settings.preset

    def _machine(self) -> tuple[str, ...]:
        return "--device", self.device, *(("--skip-bad",) if self.skip_bad else ())

    def _set(self, *planned: str) -> Iterator[str]:
        for value in (*planned, *self.settings.overrides):  # what the user replaced comes last, so that it wins
            yield from ("--set", value)

    def _judge_weights(self) -> str | None:
        for text in self.settings.weights:
            name, separator, value = text.partition("=")
            if not separator or name == JUDGE:
                return value or text
        return None
