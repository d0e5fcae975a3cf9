"""Reads a batch of known views, completes it and writes it; again and again until the plan is done."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dimvida._version import __version__
from dimvida.generation.imagefolder import ImageFolderOutput, encode_png
from dimvida.generation.journal import BatchResult
from dimvida.generation.names import FileNames
from dimvida.generation.plan import Plan, Row
from dimvida.generation.reading import GivenBatch, read_given
from dimvida.generation.report import Report
from dimvida.generation.settings import Settings, run_configuration
from dimvida.sampling.multiview import MultiViewModel
from dimvida.sampling.noise import sample_id


class Generation:
    """One run: a plan, a model, settings and the folder that the result goes to.

    Args:
        model: What completes the views.
        plan: What is completed.
        settings: How.
        folder: Output folder.
        strict: Refuse input images of another size instead of resizing them.
        overwrite: See ``ImageFolderOutput``.

    Raises:
        InputError: Two objects of the plan share a file name, or the folder is not usable.
    """

    def __init__(
        self,
        model: MultiViewModel,
        plan: Plan,
        settings: Settings,
        folder: str | Path,
        *,
        strict: bool = False,
        overwrite: bool = False,
    ) -> None:
        self.model, self.plan, self.settings, self.strict = model, plan, settings, strict
        self.names = FileNames(plan)
        self.output = ImageFolderOutput(folder, run_configuration(model, plan, settings), overwrite=overwrite)

    @property
    def views_done(self) -> int:
        """How many of the plan's views need not be generated again."""
        done = self.output.done
        batches = enumerate(self.plan.batches(self.settings.batch)) if done else ()
        return sum(_views(rows) for number, rows in batches if number in done)

    def run(self, progress: Callable[[int], object], on_skip: Callable[[str, str], object]) -> Report:
        """Generate everything that is not there yet.

        Args:
            progress: Called with the number of views after each batch.
            on_skip: Called with the name of a file that cannot be read, and why.

        Raises:
            InputError: The input cannot be used at all, or the folder cannot be written.
        """
        done = self.output.done
        for number, rows in enumerate(self.plan.batches(self.settings.batch)):
            if number in done:
                continue
            given = read_given(self.plan, rows, self.model.image_size, strict=self.strict)
            for skipped in given.skipped:
                on_skip(skipped.file, skipped.reason)
            self.output.add(*self._batch(number, given))
            progress(_views(rows))
        return self.output.finish(self.plan.left_out)

    def _batch(self, number: int, given: GivenBatch) -> tuple[BatchResult, dict[str, bytes]]:
        images: dict[str, bytes] = {}
        lines: list[dict[str, Any]] = []
        views = 0
        for place, completed in enumerate(self._complete(given)):
            row = given.rows[place]
            for view, kind in self._written(row):
                name = self.names.path(row.task, row.draw, view)
                pixels = completed[self.plan.view_names.index(view)]
                images[name] = encode_png(pixels.permute(1, 2, 0).numpy())
                lines.append(self._line(row, view, kind, name, images[name], given.hashes[place]))
                views += kind == "generated"
        result = BatchResult(
            number=number,
            rows=lines,
            objects=sum(row.draw == 0 for row in given.rows),
            views=views,
            skipped=[{"file": file.file, "reason": file.reason, "source": file.source} for file in given.skipped],
            notes={text: (len(files), files[0]) for text, files in given.notes.items()},
        )
        return result, images

    def _complete(self, given: GivenBatch) -> Tensor:
        """uint8 [B, V, 3, H, W]."""
        if not given.rows:
            return given.views
        return self.model.generate(
            given.views,
            given.known,
            steps=self.settings.steps,
            solver=self.settings.solver,
            seed=self.settings.seed,
            sample_ids=torch.tensor([sample_id(row.task.record.id, row.draw) for row in given.rows]),
            backend=self.settings.backend,
            dtype=self.settings.torch_dtype,
        )

    def _written(self, row: Row) -> list[tuple[str, str]]:
        """The views of a row that become files, in the model's order, and what they are."""
        kinds = dict.fromkeys(row.task.targets, "generated")
        if self.settings.include_known:
            kinds |= dict.fromkeys(row.task.known, "real")
        return [(view, kinds[view]) for view in self.plan.view_names if view in kinds]

    def _line(self, row: Row, view: str, kind: str, name: str, data: bytes, hashes: dict[str, str]) -> dict[str, Any]:
        record, settings, made = row.task.record, self.settings, kind == "generated"
        return {
            "file_name": name,
            "source": record.id,
            # Every view is named, so that all lines have the same fields whatever is known.
            "source_sha256": {other: hashes.get(other) for other in self.plan.view_names},
            "view": view,
            "kind": kind,
            "label": record.class_name or None,
            "known": list(row.task.known),
            "seed": settings.seed if made else None,
            "sample_id": sample_id(record.id, row.draw) if made else None,
            "draw": row.draw,
            "checkpoint": self.model.checkpoint_hash if made else None,
            "solver": settings.solver if made else None,
            "steps": settings.steps if made else None,
            "dtype": settings.dtype if made else None,
            "backend": settings.backend if made else None,
            "version": __version__,
            "sha256": hashlib.sha256(data).hexdigest(),
        }


def _views(rows: Sequence[Row]) -> int:
    return sum(len(row.task.targets) for row in rows)
