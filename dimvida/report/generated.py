"""Outputs of ``dimvida generate``: what their files say."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from dimvida.data.names import counted
from dimvida.data.opening import open_tree
from dimvida.errors import InputError
from dimvida.results.files import parse_content
from dimvida.results.schema import SkippedInput

COUNTS = "report.json"
SHOWN = ("checkpoint", "solver", "steps", "seed", "dtype", "backend", "format", "image_size", "version")


@dataclass(frozen=True, slots=True)
class GeneratedOutput:
    """What ``generation.json`` and ``report.json`` say of a finished output.

    Attributes:
        configuration: Everything that decided about a byte of it.
        objects, views: Objects that views were generated for, and how many views.
        skipped: Files that could not be read, or belong to no object, with reasons.
        left_out: Objects that nothing was to be generated for: reason -> how many.
        notes: How input images were converted: text -> how many.
    """

    file: ClassVar[str] = "generation.json"
    configuration: dict[str, Any]
    objects: int
    views: int
    skipped: list[SkippedInput] = field(default_factory=list)
    left_out: dict[str, int] = field(default_factory=dict)
    notes: dict[str, int] = field(default_factory=dict)

    @property
    def settings(self) -> list[tuple[str, str]]:
        """What a reader asks first of how it was made, a checkpoint by the beginning of its hash."""
        found = [(name, self.configuration.get(name)) for name in SHOWN]
        return [(name.replace("_", " "), str(value)[:24]) for name, value in found if value is not None]

    @property
    def versions(self) -> dict[str, Any]:
        """The version that wrote it."""
        return {"dimvida": self.configuration.get("version")}

    @property
    def lines(self) -> list[str]:
        """What else became of the input: conversions, and objects that were left out."""
        lines = [f"{counted(count, 'object')} left out: {reason}" for reason, count in self.left_out.items()]
        return lines + [f"{text}: {counted(count, 'image')}" for text, count in self.notes.items()]


def read_generated(folder: Path | str) -> tuple[GeneratedOutput, dict[str, Any]]:
    """What the files of an output say, and all that they hold.

    Args:
        folder: The output, a folder or a URL.

    Raises:
        InputError: It is not finished or no output, or one of them is damaged.
        DimvidaError: It cannot be reached.
    """
    tree = open_tree(folder)
    if not tree.exists(GeneratedOutput.file):
        raise InputError(f"{tree.path}: not an output of dimvida generate; it has no {GeneratedOutput.file}")
    if not tree.exists(COUNTS):
        raise InputError(f"{tree.path}: not finished, it has no {COUNTS}; the command that began it continues")
    content, counts = (parse_content(tree.read(name), tree.location(name)) for name in (GeneratedOutput.file, COUNTS))
    try:
        left_out = [SkippedInput(entry["file"], entry["reason"]) for entry in counts.get("files_left_out", [])]
        configuration = dict(content["configuration"])
        if (
            not all(isinstance(name, str) for name in configuration["view_names"])
            or int(configuration["image_size"]) < 1
        ):
            raise ValueError
        record = GeneratedOutput(
            configuration,
            int(counts["objects"]),
            int(counts["views_generated"]),
            [SkippedInput(str(entry["file"]), str(entry["reason"])) for entry in counts["skipped"]] + left_out,
            {str(reason): int(count) for reason, count in counts["objects_left_out"].items()},
            {str(entry["note"]): int(entry["images"]) for entry in counts["notes"]},
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        raise InputError(
            f"{tree.path}: {GeneratedOutput.file} or {COUNTS} is damaged, or not of dimvida generate"
        ) from None
    return record, {**content, "report": counts}
