"""From what a classifier says of every view to one answer per object."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor

from dimvida.classification.views import SingleViews
from dimvida.sampling.classifier import average_views


def from_known(logits: Tensor, objects: SingleViews) -> Tensor:
    """The answer from the known view alone: labels int64 [N] of logits [N, V, K]."""
    return logits[torch.arange(len(objects)), objects.views].argmax(1)


def from_all(draws: Sequence[Tensor], average: str) -> Tensor:
    """The answer from all views, and from several samples of the generated ones.

    Every view counts once, however many samples it has: the mean over draws of the mean over views.

    Args:
        draws: Logits [N, V, K] of each draw.
        average: See ``average_views``.

    Returns:
        Labels, int64 [N].
    """
    output = "logits" if average == "logits" else "probabilities"  # what the mean over draws is of too
    return torch.stack([average_views(logits, average, output) for logits in draws]).mean(0).argmax(1)


def from_some(logits: Tensor, objects: SingleViews, count: int, average: str) -> Tensor:
    """The answer from the known view and ``count - 1`` generated ones; labels int64 [N].

    Which ones is drawn for each object by its id, and more of them only adds to the fewer.
    """
    order = torch.stack(
        [
            _order(identity, int(view), logits.shape[1])
            for identity, view in zip(objects.ids, objects.views, strict=True)
        ]
    )
    chosen = order[:, :count, None].expand(-1, -1, logits.shape[2])
    return average_views(logits.gather(1, chosen), average, "probabilities").argmax(1)


def _order(identity: str, known: int, views: int) -> Tensor:
    """The known view, then the others in an order of the object's own."""

    def draw(view: int) -> bytes:
        return hashlib.blake2b(f"{identity}\0order\0{view}".encode(), digest_size=8).digest()

    others = sorted((view for view in range(views) if view != known), key=draw)
    return torch.tensor([known, *others])
