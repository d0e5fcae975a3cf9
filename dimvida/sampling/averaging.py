"""One answer of several views: the mean over what a classifier says of each."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dimvida.errors import InputError

AVERAGES = ("probabilities", "logits", "confidence")


def average_views(logits: Tensor, average: str) -> Tensor:
    """The mean over views.

    - ``probabilities``: of the softmax of every view, as in the paper's evaluation.
    - ``logits``: of the logits themselves, which is the geometric mean of the probabilities up to a factor.
    - ``confidence``: of the probabilities p_v with weights w_v = 1 - H(p_v) / log K, H being the entropy: a view that
      is sure counts, one that knows nothing does not.

    Args:
        logits: float [..., V, K].
        average: One of ``AVERAGES``.

    Returns:
        float [..., K]: logits where ``average`` is, else probabilities.

    Raises:
        InputError: For another ``average``.
    """
    require_average(average)
    if average == "logits":
        return logits.mean(-2)
    probabilities = logits.softmax(-1)
    if average == "probabilities":
        return probabilities.mean(-2)
    entropy = torch.special.entr(probabilities).sum(-1, keepdim=True)  # [..., V, 1]
    # The least weight decides only where no view knows anything.
    weights = (1 - entropy / math.log(logits.shape[-1])).clamp_min(1e-6)
    return (weights * probabilities).sum(-2) / weights.sum(-2)


def require_average(average: str) -> None:
    """Raise InputError unless it is one of ``AVERAGES``."""
    if average not in AVERAGES:
        raise InputError(f"average {average!r}: choose from {', '.join(AVERAGES)}")
