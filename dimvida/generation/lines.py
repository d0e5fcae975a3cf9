"""What the metadata say about each picture."""

from __future__ import annotations

import hashlib
from typing import Any

from dimvida._version import __version__
from dimvida.generation.plan import GenerationPlan, Row
from dimvida.generation.settings import GenerationSettings
from dimvida.sampling.trajectory import sample_id


class LineMaker:
    """Makes the lines of one run.

    Args:
        plan: The run's plan.
        settings: How it generates.
        checkpoint: Hash of its checkpoint.
    """

    def __init__(self, plan: GenerationPlan, settings: GenerationSettings, checkpoint: str) -> None:
        self._plan, self._settings, self._checkpoint = plan, settings, checkpoint

    def written(self, row: Row) -> list[tuple[str, str]]:
        """The views of a row that are written, in the model's order, and what they are."""
        kinds = dict.fromkeys(row.task.targets, "generated")
        if self._settings.include_known:
            kinds |= dict.fromkeys(row.task.known, "real")
        return [(view, kinds[view]) for view in self._plan.view_names if view in kinds]

    def unwritten(self, row: Row, hashes: dict[str, str]) -> list[dict[str, Any]]:
        """Lines with the same fields about the views of a row that are not written."""
        written = dict(self.written(row))
        others = [view for view in self._plan.view_names if view not in written]
        return [self.line(row, view, "", b"", hashes) | {"sha256": None} for view in others]

    def line(self, row: Row, view: str, kind: str, data: bytes, hashes: dict[str, str]) -> dict[str, Any]:
        """The line about one picture; ``hashes`` are those of the known views' files."""
        record, settings, made = row.task.record, self._settings, kind == "generated"
        return {
            "source": record.id,
            # Every view is named, so that all lines have the same fields whatever is known.
            "source_sha256": {other: hashes.get(other) for other in self._plan.view_names},
            "view": view,
            "kind": kind,
            "label": record.class_name or None,
            "known": list(row.task.known),
            "seed": settings.seed if made else None,
            "sample_id": sample_id(record.id, row.draw) if made else None,
            "draw": row.draw,
            "checkpoint": self._checkpoint if made else None,
            "solver": settings.solver if made else None,
            "steps": settings.steps if made else None,
            "dtype": settings.dtype if made else None,
            "backend": settings.backend if made else None,
            "version": __version__,
            "sha256": hashlib.sha256(data).hexdigest(),
        }
