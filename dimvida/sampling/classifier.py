"""A classifier that looks at an object from all sides."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from dimvida.errors import InputError
from dimvida.sampling.averaging import average_views, require_average
from dimvida.sampling.multiview import MultiViewModel


def unit_range(images: Tensor) -> Tensor:
    """uint8 images as float32 in [0, 1]."""
    return images.float() / 255


class MultiViewClassifier(nn.Module):
    """The mean over the views of what a classifier says of each, the missing views generated before.

    Only the classifier has parameters to train here: the views are generated without gradients, and the model is not
    registered as a part of this module, so that a checkpoint of it holds the classifier alone.

    Args:
        classifier: Maps images [N, C, H, W] to logits [N, K].
        model: Generates the missing views.
        average: ``probabilities``, ``logits`` or ``confidence``, see ``dimvida.sampling.averaging.average_views``.
        prepare: Maps uint8 images [N, C, H, W] to what the classifier takes; by default float32 in [0, 1].
        sampling: ``steps``, ``solver``, ``seed``, ``backend`` and ``dtype`` of ``MultiViewModel.generate``.

    Raises:
        InputError: For another ``average``.
    """

    def __init__(
        self,
        classifier: nn.Module,
        model: MultiViewModel,
        *,
        average: str = "probabilities",
        prepare: Callable[[Tensor], Tensor] = unit_range,
        **sampling: Any,
    ) -> None:
        super().__init__()
        require_average(average)
        self.classifier = classifier
        self.average, self.prepare, self.sampling = average, prepare, sampling
        self._model = (model,)  # a tuple, which nn.Module does not take for a part

    @property
    def model(self) -> MultiViewModel:
        """What generates the views."""
        return self._model[0]

    def forward(self, views: Tensor, known: Tensor | str, sample_ids: Tensor | None = None) -> Tensor:
        """Classify objects.

        Args:
            views: uint8 [B, V, C, H, W], entries of missing views are ignored; or [B, C, H, W], one view of each.
            known: bool [B, V]; or the name of the view that is there.
            sample_ids: int64 [B], what the noise of each object is keyed with; by default 0 .. B-1.

        Returns:
            float [B, K]: probabilities or logits, as ``average`` says.

        Raises:
            InputError: For a view that the model does not have.
            ValueError: For tensors whose shape or dtype does not fit.
        """
        if isinstance(known, str):
            views, known = self._from_one(views, known)
        completed = self.model.generate(views, known, sample_ids=sample_ids, **self.sampling)
        batch, count = completed.shape[:2]
        logits = self.classifier(self.prepare(completed.flatten(0, 1)))
        return average_views(logits.unflatten(0, (batch, count)), self.average)

    def _from_one(self, images: Tensor, view: str) -> tuple[Tensor, Tensor]:
        names = self.model.view_names
        if view not in names:
            raise InputError(f"the model has no view {view!r}; it has {', '.join(names)}")
        if images.ndim != 4:
            raise ValueError(f"one view of each object is uint8 [B, C, H, W], not {list(images.shape)}")
        views = images.new_zeros(len(images), len(names), *images.shape[1:])
        known = torch.zeros(views.shape[:2], dtype=torch.bool, device=images.device)
        views[:, names.index(view)] = images
        known[:, names.index(view)] = True
        return views, known
