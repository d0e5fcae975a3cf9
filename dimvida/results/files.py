"""Result files as a whole: how they are written and read; what those of ``train``, ``generate``, ``reproduce`` hold."""

from __future__ import annotations

import dataclasses
import json
import platform
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from dimvida._version import __version__
from dimvida.errors import InputError
from dimvida.files import atomic_write
from dimvida.records import from_json, to_json
from dimvida.results.schema import OPTIONAL, SkippedInput

Result = TypeVar("Result")

STAGES = ("autoencoder", "diffusion")
"""Of a training of a model, in order: each trains on what those before it have left."""

CLASSIFIER = "classifier"
"""A training's folder of a classifier, which needs neither of its stages and is needed by none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingResult:
    """``run.json`` of ``dimvida train``, which learning curves stand beside.

    Attributes:
        options: What was asked, by the names of the command line, for ``--resume``.
        configuration: ``TrainConfig.to_dict`` of it.
        data: Name, form, split and partition of the data that it was trained on.
        init: Hash of the checkpoint that it started from, or None.
        stages: Of each stage that has begun the hash of what decides about its result.
        sha256: Hash of all the other fields; files of earlier versions have none.
    """

    file: ClassVar[str] = "run.json"
    command: list[str] = field(default_factory=list)
    versions: dict[str, str | None] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    configuration: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    skipped: list[SkippedInput] = field(default_factory=list)
    init: str | None = None
    stages: dict[str, str] = field(default_factory=dict)
    sha256: str | None = field(default=None, metadata=OPTIONAL)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassifierTraining:
    """``training.json`` of a classifier, which its training begins with: what is trained, on what.

    Attributes:
        command, versions, options, configuration: As in ``TrainingResult``; None where a study trains it.
        digest: Hash of the plan and the data.
        name, seed, weights, stage: The plan, see ``ClassifierPlan.to_dict``.
        data: Name, form, split and partition of the data that it is trained on.
    """

    file: ClassVar[str] = "training.json"
    command: list[str] | None = field(default=None, metadata=OPTIONAL)
    versions: dict[str, str | None] | None = field(default=None, metadata=OPTIONAL)
    options: dict[str, Any] | None = field(default=None, metadata=OPTIONAL)
    configuration: dict[str, Any] | None = field(default=None, metadata=OPTIONAL)
    digest: str
    name: str
    seed: int
    weights: str | None
    stage: dict[str, Any]
    data: dict[str, Any]


@dataclass(frozen=True, slots=True)
class ReproducedStage:
    """One stage of ``dimvida reproduce``: its command line, its folder in the chain's, whether it finished."""

    name: str
    command: list[str]
    folder: str
    finished: bool
    minutes: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReproductionResult:
    """``reproduce.json`` of ``dimvida reproduce``: what it was begun with, the lengths planned, and what is done."""

    file: ClassVar[str] = "reproduce.json"
    schema: int = 1
    kind: str = "reproduction"
    command: list[str] = field(default_factory=list)
    versions: dict[str, str | None] = field(default_factory=dict)
    configuration: dict[str, Any]
    plan: dict[str, Any] | None = None
    stages: list[ReproducedStage]


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationConfiguration:
    """``generation.json`` of ``dimvida generate``, which begins an output.

    Attributes:
        hash: Hash of the configuration, see ``configuration_hash`` in ``dimvida.generation.settings``.
        configuration: Everything that decides about a byte of the output.
    """

    file: ClassVar[str] = "generation.json"
    schema: int = 2
    hash: str
    configuration: dict[str, Any]


@dataclass(frozen=True, slots=True)
class ConvertedInputs:
    """How many input images were converted in some way, and the first one's file."""

    note: str
    images: int
    first: str


@dataclass(slots=True, kw_only=True)
class GenerationResult:
    """``report.json`` of ``dimvida generate``, which ends an output.

    Attributes:
        configuration: The hash that stands in ``generation.json``.
        objects: Objects that views were generated for.
        views: Views generated, over all draws.
        left_out: Objects that nothing was to be generated for: reason -> how many.
        files_left_out: Files of the input that may be images and belong to no object.
        skipped: Files that could not be read.
        notes: How input images were converted, and how many of them.
    """

    file: ClassVar[str] = "report.json"
    configuration: str
    objects: int
    views: int = field(metadata={"key": "views_generated"})
    left_out: dict[str, int] = field(metadata={"key": "objects_left_out"})
    files_left_out: list[SkippedInput] = field(default_factory=list)
    skipped_files: int = field(init=False)
    skipped: list[SkippedInput]
    notes: list[ConvertedInputs]

    def __post_init__(self) -> None:
        self.skipped_files = len(self.skipped)


def result_text(result: Any, *, ascii: bool = True) -> str:
    """A result as the text of its file, without NaN; ``ascii``: other letters as escapes."""
    return json.dumps(to_json(result), indent=1, allow_nan=False, ensure_ascii=ascii) + "\n"


def write_result(path: Path, result: Any) -> None:
    """Write a result file, unless it says the same already.

    Raises:
        OSError: It cannot be written.
    """
    text = result_text(result)
    if not path.exists() or path.read_bytes() != text.encode():
        atomic_write(path, text)


def write_json(path: Path, result: Any) -> None:
    """Write a command's result for ``--json``, a declared one or plain values.

    Raises:
        InputError: The file cannot be written.
    """
    try:
        atomic_write(path, result_text(result))
    except OSError as error:
        raise InputError(f"--json {path}: cannot be written ({error.strerror or error})") from error


def software_versions() -> dict[str, str]:
    """Versions of the packages that numbers depend on, of Python and of the system; no names of hosts or users."""
    import torch
    import torchvision

    return {
        "dimvida": __version__,
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
    }


def read_content(path: Path) -> dict[str, Any]:
    """All that a result file holds; what is no number there is None.

    Raises:
        InputError: It cannot be read, or is damaged.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    return parse_content(data, str(path))


def parse_content(data: bytes, where: str) -> dict[str, Any]:
    """All that a result file holds, as ``read_content``; ``where`` is what an error calls it.

    Raises:
        InputError: It is damaged.
    """
    try:
        content = json.loads(data, parse_constant=lambda name: None)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: damaged, not JSON ({error})") from None
    if not isinstance(content, dict):
        raise InputError(f"{where}: is not an object; damaged, or not of dimvida")
    return content


def parse_result(kind: type[Result], content: dict[str, Any], path: Path) -> Result:
    """A result from what its file holds.

    Raises:
        InputError: It is damaged, or of a schema that this version does not read.
    """
    known = next((field.default for field in dataclasses.fields(kind) if field.name == "schema"), None)
    schema = content.get("schema", known)
    if schema != known:
        raise InputError(
            f"{path}: schema {schema!r}, but this version reads {known}; report it with the version that made it"
        )
    return from_json(kind, content, str(path))
