"""What a run did and could not do, for people and for scripts."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from dimvida.data.names import counted
from dimvida.errors import InputError
from dimvida.generation.stats import ShardStats


@dataclass(slots=True)
class GenerationReport:
    """Counts of a finished run.

    Attributes:
        objects: Objects that views were generated for.
        views: Views generated, over all draws.
        skipped: Files that could not be read: ``file``, ``reason`` and the ``source`` that was left out.
        notes: How input images were converted: text -> (how many images, the first one's file).
        left_out: Objects that nothing was to be generated for: reason -> how many.
        files_left_out: Files of the input that may be images and belong to no object: name -> reason.
    """

    objects: int = 0
    views: int = 0
    skipped: list[dict[str, str]] = field(default_factory=list)
    notes: dict[str, tuple[int, str]] = field(default_factory=dict)
    left_out: dict[str, int] = field(default_factory=dict)
    files_left_out: dict[str, str] = field(default_factory=dict)

    @property
    def not_read(self) -> int:
        """Files that nothing was made of."""
        return len(self.skipped) + len(self.files_left_out)

    def add(self, result: ShardStats) -> None:
        """Count a shard in."""
        self.objects += result.objects
        self.views += result.views
        self.skipped += result.skipped
        for text, (count, first) in result.notes.items():
            before = self.notes.get(text, (0, first))
            self.notes[text] = before[0] + count, before[1]

    def fail_empty(self) -> None:
        """Raise InputError: nothing could be read."""
        first = self.skipped[0]
        raise InputError(
            f"none of the {len(self.skipped)} input files can be read; the first: {first['file']}: {first['reason']}"
        )

    def summary(self) -> str:
        """One line."""
        text = f"{self.views} views of {self.objects} objects"
        return f"{text}, {counted(self.not_read, 'file')} skipped" if self.not_read else text

    def note_lines(self) -> list[str]:
        """One line for each kind of conversion, and for each reason to leave objects out."""
        lines = [f"{text}: {count} images (first: {first})" for text, (count, first) in self.notes.items()]
        return lines + [f"{count} objects left out: {reason}" for reason, count in self.left_out.items()]

    def to_json(self, configuration: str) -> str:
        """The content of ``report.json``; ``configuration`` is the hash of the run's."""
        content = {
            "configuration": configuration,
            "objects": self.objects,
            "views_generated": self.views,
            "objects_left_out": self.left_out,
            "files_left_out": [{"file": name, "reason": reason} for name, reason in self.files_left_out.items()],
            "skipped_files": len(self.skipped),
            "skipped": self.skipped,
            "notes": [{"note": text, "images": count, "first": first} for text, (count, first) in self.notes.items()],
        }
        return json.dumps(content, indent=1, ensure_ascii=False) + "\n"
