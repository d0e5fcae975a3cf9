"""Run folders: which commands wrote there, and what."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from dimvida.errors import InputError
from dimvida.records import from_json
from dimvida.report.records import Chain, Classification, Evaluation, Solvers, Training
from dimvida.report.wording import slug

SCHEMA = 1
CHAIN_FILE = "reproduce.json"
CLASSIFIER = "classifier"  # the folder of a classifier in that of a training

# The file by which each kind of result is recognised.
FILES: dict[str, type] = {
    "run.json": Training,
    "evaluation.json": Evaluation,
    "classification.json": Classification,
    "solvers.json": Solvers,
    CHAIN_FILE: Chain,
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
        folder: Where it is.
        record: What a report shows of it.
        content: All of the file.
        curves: Learning curves, of a training.
    """

    label: str
    folder: Path
    record: Record
    content: dict[str, Any]
    curves: list[Curve] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Runs:
    """Everything that is reported, by kind, in the order given; ``paper``: whether the paper's figures stand beside."""

    trainings: list[Part[Training]]
    evaluations: list[Part[Evaluation]]
    classifications: list[Part[Classification]]
    solvers: list[Part[Solvers]]
    chains: list[Part[Chain]]
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


def read_runs(paths: Sequence[Path], *, paper: bool = True) -> Runs:
    """Read the results in folders; that of ``dimvida reproduce`` stands for the folders of its stages.

    Raises:
        InputError: A folder is no run, or a file in it is damaged.
    """
    folders: dict[Path, None] = {}  # each once, in order
    for path in paths:
        folders.update(dict.fromkeys(_with_stages(path)))
    labels = _labels(list(folders))
    parts: dict[type, list[Part]] = {kind: [] for kind in FILES.values()}
    for folder in folders:
        for name, kind in FILES.items():
            if (folder / name).is_file():
                content = _read_json(folder / name)
                curves = read_curves(folder) + read_curves(folder / CLASSIFIER) if kind is Training else []
                record = from_json(kind, content, str(folder / name))
                parts[kind].append(Part(labels[folder], folder, record, content, curves))
    return Runs(parts[Training], parts[Evaluation], parts[Classification], parts[Solvers], parts[Chain], paper)


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


def _with_stages(path: Path) -> Iterator[Path]:
    if not path.exists():
        raise InputError(f"{path}: does not exist")
    if not _is_run(path):
        raise InputError(f"{path}: not a run folder; it has none of {', '.join(FILES)}")
    path = path.resolve()
    yield path
    if (path / CHAIN_FILE).is_file():
        chain = from_json(Chain, _read_json(path / CHAIN_FILE), str(path / CHAIN_FILE))
        for stage in chain.stages:
            folder = (path / stage.folder).resolve()
            if folder.is_relative_to(path) and _is_run(folder):
                yield folder


def _is_run(path: Path) -> bool:
    return any((path / name).is_file() for name in FILES)


def _labels(folders: Sequence[Path]) -> dict[Path, str]:
    """As much of the end of each path as tells it from the others, in the name of a picture too."""
    labels: dict[Path, str] = {}
    for number, folder in enumerate(folders, 1):
        for depth in range(1, len(folder.parts) + 1):
            label = "/".join(folder.parts[-depth:])
            if sum(slug(*other.parts[-depth:]) == slug(*folder.parts[-depth:]) for other in folders) == 1:
                break
        else:
            label = f"{folder.name} ({number})"
        labels[folder] = label
    return labels


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes(), parse_constant=lambda name: None)  # not a number: nothing to show
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: damaged, not JSON ({error})") from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: is not an object; damaged, or not of dimvida")
    schema = content.get("schema", SCHEMA)
    if schema != SCHEMA:
        raise InputError(
            f"{path}: schema {schema!r}, but this version reads {SCHEMA}; report it with the version that made it"
        )
    return content


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
