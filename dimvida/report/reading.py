"""Run folders: which commands wrote there, and what."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from dimvida.data.names import input_lines
from dimvida.data.opening import open_tree
from dimvida.errors import InputError
from dimvida.records import from_json
from dimvida.remote import shown, url_of
from dimvida.results.files import (
    CLASSIFIER,
    GenerationConfiguration,
    GenerationResult,
    ReproductionResult,
    TrainingResult,
    parse_content,
    parse_result,
    read_content,
)
from dimvida.results.schema import ClassificationResult, EvaluationResult, SkippedInput
from dimvida.results.solvers import SolversResult

# The kinds of results, each recognised by its file, and what report.json calls them.
RESULT_KINDS: dict[type, str] = {
    TrainingResult: "training",
    EvaluationResult: "evaluation",
    ClassificationResult: "classification",
    SolversResult: "solvers",
    ReproductionResult: "chain",
}

Record = TypeVar("Record")


@dataclass(frozen=True, slots=True)
class Curve:
    """A learning curve: values against steps, by name (``loss``, ``validation_loss``, ...); None where not finite."""

    stage: str
    steps: list[int]
    values: dict[str, list[float | None]]


@dataclass(frozen=True, slots=True)
class Part(Generic[Record]):
    """One result of one command.

    Attributes:
        label: Short name of its folder, unique among those read.
        folder: The folder that its file is in; of an output of generate perhaps a URL.
        kind: What ``report.json`` calls its kind, such as ``evaluation``.
        record: The parsed file, as the type that its kind has.
        content: All of the file, as it stands there.
        curves: Learning curves, of a training.
    """

    label: str
    folder: Path | str
    kind: str
    record: Record
    content: dict[str, Any]
    curves: list[Curve] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Runs:
    """Everything that is reported, by kind, in the order given; ``paper``: whether the paper's figures stand beside."""

    trainings: list[Part[TrainingResult]]
    evaluations: list[Part[EvaluationResult]]
    classifications: list[Part[ClassificationResult]]
    solvers: list[Part[SolversResult]]
    chains: list[Part[ReproductionResult]]
    generated: list[Part[GeneratedOutput]]
    paper: bool = True

    def about_the_paper(self, data: str) -> str:
        """What a reader must know where the paper's figures stand beside those on ``data``; "" where they do not."""
        if not self.paper:
            return ""
        if self._is_nmr(data):
            return "The paper's figures are of the same data set, NMR, though of another choice of objects."
        return "The paper's figures are of the NMR data set, not of this data: they show orders of magnitude."

    def _is_nmr(self, data: str) -> bool:
        """Whether data of that name are the paper's, as far as a training or a chain on them tells."""
        forms = {part.record.data.get("name"): part.record.data.get("form") for part in self.trainings}
        forms |= {part.record.configuration.get("name"): part.record.configuration.get("form") for part in self.chains}
        return str(forms.get(data)).startswith("nmr-")

    def __iter__(self) -> Iterator[Part]:
        for kind in (self.chains, self.trainings, self.evaluations, self.classifications, self.solvers):
            yield from kind
        yield from self.generated


def read_runs(paths: Sequence[Path], *, paper: bool = True) -> Runs:
    """Read the results in folders; that of ``dimvida reproduce`` stands for the folders of its stages.

    Raises:
        InputError: A folder is no run, or a file in it is damaged.
    """
    folders: dict[Path | str, None] = {}  # each once, in order
    for path in paths:
        folders.update(dict.fromkeys(_with_stages(path)))
    labels = _labels(list(folders))
    parts: dict[str, list[Part]] = {kind: [] for kind in RESULT_KINDS.values()}
    generated: list[Part[GeneratedOutput]] = []
    for folder in folders:
        if isinstance(folder, str):
            generated.append(Part(labels[folder], folder, "generated", *read_generated(folder)))
            continue
        for declared, kind in RESULT_KINDS.items():
            if (path := folder / declared.file).is_file():
                content = read_content(path)
                record = parse_result(declared, content, path)
                curves = read_curves(folder) + read_curves(folder / CLASSIFIER) if kind == "training" else []
                parts[kind].append(Part(labels[folder], folder, kind, record, content, curves))
        if (folder / GeneratedOutput.file).is_file():
            generated.append(Part(labels[folder], folder, "generated", *read_generated(folder)))
    return Runs(*(parts[kind] for kind in RESULT_KINDS.values()), generated, paper)


def read_curves(folder: Path) -> list[Curve]:
    """The learning curves of a training.

    Raises:
        InputError: One of the files is damaged.
    """
    curves = []
    for path in sorted(folder.glob("*.csv")):
        with open(path, newline="", encoding="utf-8", errors="replace") as file:
            rows = list(csv.DictReader(file))
        if not rows:
            continue
        names = [name for name in rows[0] if name and (name == "loss" or name.startswith("validation_"))]
        try:
            steps = [int(row["step"]) for row in rows]
            values = {name: [_finite(float(row[name])) for row in rows] for name in names}
        except (KeyError, TypeError, ValueError):
            raise InputError(f"{path}: damaged, or not a learning curve of dimvida train") from None
        curves.append(Curve(path.stem, steps, values))
    return curves


def slug(*words: str) -> str:
    """A file's name of some words, of letters, digits, dots, dashes and underscores only."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", "-".join(words))


def _with_stages(path: Path) -> Iterator[Path | str]:
    if (url := url_of(path)) is not None and not url.startswith("file://"):
        yield url.rstrip("/")
        return
    path = path if url is None else Path(url.removeprefix("file://"))
    if not path.exists():
        raise InputError(f"{path}: does not exist")
    if not _is_run(path):
        files = ", ".join(kind.file for kind in (*RESULT_KINDS, GeneratedOutput))
        raise InputError(f"{path}: not a run folder; it has none of {files}")
    path = path.resolve()
    yield path
    if (file := path / ReproductionResult.file).is_file():
        chain = parse_result(ReproductionResult, read_content(file), file)
        for stage in chain.stages:
            folder = (path / stage.folder).resolve()
            if folder.is_relative_to(path) and _is_run(folder):
                yield folder


def _is_run(path: Path) -> bool:
    return any((path / kind.file).is_file() for kind in (*RESULT_KINDS, GeneratedOutput))


def _labels(folders: Sequence[Path | str]) -> dict[Path | str, str]:
    """As much of the end of each path as tells it from the others, in the name of a picture too."""
    labels: dict[Path | str, str] = {}
    parts = [shown(folder).split("/") if isinstance(folder, str) else folder.parts for folder in folders]
    for number, (folder, own) in enumerate(zip(folders, parts, strict=True), 1):
        for depth in range(1, len(own) + 1):
            label = "/".join(own[-depth:])
            if sum(slug(*others[-depth:]) == slug(*own[-depth:]) for others in parts) == 1:
                break
        else:
            label = f"{own[-1]} ({number})"
        labels[folder] = label
    return labels


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


SETTINGS_SHOWN = ("checkpoint", "solver", "steps", "seed", "dtype", "backend", "format", "image_size", "version")


@dataclass(frozen=True, slots=True)
class GeneratedOutput:
    """A finished output of ``dimvida generate``, as a report shows it.

    Attributes:
        configuration: Everything that decided about a byte of it.
        result: Numbers of objects and views, and what was left out, as in ``report.json``.
    """

    file: ClassVar[str] = GenerationConfiguration.file
    configuration: dict[str, Any]
    result: GenerationResult

    @property
    def skipped(self) -> list[SkippedInput]:
        """Files that could not be read, or belong to no object, with reasons."""
        return [*self.result.skipped, *self.result.files_left_out]

    @property
    def settings(self) -> list[tuple[str, str]]:
        """What a reader asks first of how it was made, a checkpoint by the beginning of its hash."""
        found = [(name, self.configuration.get(name)) for name in SETTINGS_SHOWN]
        return [(name.replace("_", " "), str(value)[:24]) for name, value in found if value is not None]

    @property
    def versions(self) -> dict[str, Any]:
        """The version that wrote it."""
        return {"dimvida": self.configuration.get("version")}

    @property
    def lines(self) -> list[str]:
        """What else became of the input: conversions, and objects that were left out."""
        return input_lines({note.note: (note.images, note.first) for note in self.result.notes}, self.result.left_out)


def read_generated(folder: Path | str) -> tuple[GeneratedOutput, dict[str, Any]]:
    """What the files of an output say, and all that they hold.

    Args:
        folder: The output, a folder or a URL.

    Raises:
        InputError: It is not finished or no output, or one of them is damaged.
        DimvidaError: It cannot be reached.
    """
    tree = open_tree(folder)
    begun, ended = GenerationConfiguration.file, GenerationResult.file
    if not tree.exists(begun):
        raise InputError(f"{tree.path}: not an output of dimvida generate; it has no {begun}")
    if not tree.exists(ended):
        raise InputError(f"{tree.path}: not finished, it has no {ended}; the command that began it continues")
    content, counts = (parse_content(tree.read(name), tree.location(name)) for name in (begun, ended))
    try:
        configuration = from_json(GenerationConfiguration, content, begun).configuration
        if (
            not all(isinstance(name, str) for name in configuration["view_names"])
            or int(configuration["image_size"]) < 1
        ):
            raise ValueError
        record = GeneratedOutput(configuration, from_json(GenerationResult, counts, ended))
    except (KeyError, TypeError, ValueError, InputError):
        raise InputError(f"{tree.path}: {begun} or {ended} is damaged, or not of dimvida generate") from None
    return record, {**content, "report": counts}
