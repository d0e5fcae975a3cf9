"""One answer of several views: the mean over what a classifier says of each."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dimvida.errors import InputError

AVERAGES = ("probabilities", "logits", "confidence")
OUTPUTS = ("logits", "log-probabilities", "probabilities")


def average_views(logits: Tensor, average: str, output: str = "logits") -> Tensor:
    """The mean over views.

    - ``probabilities``: of the softmax of every view, as in the paper's evaluation.
    - ``logits``: of the logits themselves, which is the geometric mean of the probabilities up to a factor.
    - ``confidence``: of the probabilities p_v with weights w_v = 1 - H(p_v) / log K, H being the entropy: a view that
      is sure counts, one that knows nothing does not.

    Args:
        logits: float [..., V, K].
        average: What the mean is of, one of ``AVERAGES``.
        output: What is returned, one of ``OUTPUTS``. ``logits`` are numbers whose softmax is the answer, as
            ``torch.nn.CrossEntropyLoss`` takes them: the mean of logits itself, or the logarithm of mean probabilities.
            ``log-probabilities`` are what ``torch.nn.NLLLoss`` takes. ``probabilities`` sum to 1.

    Returns:
        float [..., K] in the dtype of ``logits``, but no lower than float32.

    Raises:
        InputError: For another ``average`` or ``output``.
    """
    require_average(average)
    require_output(output)
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    if average == "logits":
        mean = logits.mean(-2)
        if output == "logits":
            return mean
        return mean.log_softmax(-1) if output == "log-probabilities" else mean.softmax(-1)
    each = logits.log_softmax(-1)
    if average == "probabilities":
        weights = each.new_ones(each.shape[:-1])
    else:
        # Of a class that is impossible the product is 0, and so is its gradient, unlike that of torch.special.entr.
        entropy = -(each.exp() * each.clamp_min(torch.finfo(each.dtype).min)).sum(-1)  # [..., V]
        # The least weight decides only where no view knows anything. Of a single class every view is sure.
        weights = (1 - entropy / math.log(max(2, logits.shape[-1]))).clamp_min(1e-6)
    shares = weights / weights.sum(-1, keepdim=True)
    if output == "probabilities":
        return (shares[..., None] * each.exp()).sum(-2)
    # Without leaving the logarithm: a class that no view believes in has a loss, and a gradient, all the same.
    return (shares.log()[..., None] + each).logsumexp(-2)


def require_average(average: str) -> None:
    """Raise InputError unless it is one of ``AVERAGES``."""
    if average not in AVERAGES:
        raise InputError(f"average {average!r}: choose from {', '.join(AVERAGES)}")


def require_output(output: str) -> None:
    """Raise InputError unless it is one of ``OUTPUTS``."""
    if output not in OUTPUTS:
        raise InputError(f"output {output!r}: choose from {', '.join(OUTPUTS)}")
