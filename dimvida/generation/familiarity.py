"""Notes on inputs that the model was not trained for: it makes of them what it knows."""

from __future__ import annotations

from dimvida.generation.plan import GenerationPlan
from dimvida.generation.read import ReadBatch, file_within
from dimvida.sampling.multiview import MultiViewModel

RECONSTRUCTED = 64
"""Objects of a run, about, whose images are reconstructed to see whether the model can show them."""

BACKGROUND = "the border is not the background of the training images, views may be wrong"
CLASS = "of a class that the model was not trained on, views may be of another object"
LIKENESS = "the model cannot show it as well as its training images, views may be of another object"


class FamiliarityCheck:
    """Adds notes on unfamiliar images to a batch's; which ones depends on the plan and the images alone.

    Args:
        model: Knows its classes, and perhaps what its training images look like.
        plan: What is completed.
    """

    def __init__(self, model: MultiViewModel, plan: GenerationPlan) -> None:
        self._model, self._plan = model, plan
        self._stride = max(1, len(plan.tasks) // RECONSTRUCTED)
        self.likeness = LIKENESS + (f" (1 in {self._stride} looked at)" if self._stride > 1 else "")

    def __call__(self, batch: ReadBatch) -> None:
        """Look at the known views of a batch, each object once."""
        model, inputs = self._model, self._model.config.inputs
        rows = [place for place, row in enumerate(batch.rows) if row.draw == 0]
        shown = [(place, view) for place in rows for view in batch.rows[place].task.known]
        if not shown:
            return
        classes = set(model.classes)
        for place, view in shown:
            name = batch.rows[place].task.record.class_name
            if classes and name and name not in classes:
                self._add(batch, CLASS, place, view)
        if inputs is None:
            return
        views = [self._plan.view_names.index(view) for _, view in shown]
        images = batch.views[[place for place, _ in shown], views]
        for (place, view), foreign in zip(shown, inputs.foreign_border(images).tolist(), strict=True):
            if foreign:
                self._add(batch, BACKGROUND, place, view)
        chosen = [n for n, (place, _) in enumerate(shown) if batch.rows[place].task.index % self._stride == 0]
        if chosen:
            reconstructed = model.decode(model.encode(images[chosen]))
            bad = inputs.badly_reconstructed(images[chosen], reconstructed).tolist()
            for number in [n for n, failed in zip(chosen, bad, strict=True) if failed]:
                self._add(batch, self.likeness, *shown[number])

    def _add(self, batch: ReadBatch, text: str, place: int, view: str) -> None:
        file = file_within(self._plan.source, batch.rows[place].task.index, view)
        batch.notes.setdefault(text, []).append(file)
