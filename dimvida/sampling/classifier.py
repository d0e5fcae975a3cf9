"""A classifier that looks at an object from all sides: one answer, the mean over what it says of each view."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from dimvida.errors import require_choice
from dimvida.sampling.given import KnownViews, Views
from dimvida.sampling.multiview import MultiViewModel

AVERAGES = ("probabilities", "logits", "confidence")
OUTPUTS = ("logits", "log-probabilities", "probabilities")


def unit_range(images: Tensor) -> Tensor:
    """uint8 images as float32 in [0, 1]."""
    return images.float() / 255


class MultiViewClassifier(nn.Module):
    """The mean over the views of what a classifier says of each, the missing views generated before.

    What it returns are logits, as of any classifier, so ``torch.nn.CrossEntropyLoss`` takes them; ``output`` asks for
    probabilities instead. Only the classifier has parameters to train here: the views are generated without gradients,
    and the model is not registered as a part of this module, so that a checkpoint of it holds the classifier alone.

    Args:
        classifier: Maps images [N, C, H, W] to logits [N, K].
        model: Generates the missing views.
        average: What the mean is of: ``probabilities``, ``logits`` or ``confidence``, see
            ``average_views``.
        output: What is returned, whatever the mean is of: ``logits``, ``log-probabilities`` or ``probabilities``, see
            there.
        prepare: Maps uint8 images [N, C, H, W] to what the classifier takes; by default float32 in [0, 1]. Floats are
            then cast to the classifier's own dtype.
        sampling: ``steps``, ``solver``, ``seed``, ``backend`` and ``dtype`` of ``MultiViewModel.generate``.

    Raises:
        InputError: ``average`` or ``output`` is no choice that there is.

    Example:
        >>> import torch, dimvida
        >>> from dimvida.models.classifiers import build_classifier
        >>> resnet = build_classifier("resnet18", ["chair", "table"]).eval()
        >>> model = dimvida.load("bundled")
        >>> whole = dimvida.MultiViewClassifier(resnet, model, output="probabilities")
        >>> front = torch.full((3, 3, 64, 64), 255, dtype=torch.uint8)
        >>> bool(torch.allclose(whole(front, "front").sum(1), torch.ones(3)))
        True
    """

    def __init__(
        self,
        classifier: nn.Module,
        model: MultiViewModel,
        *,
        average: str = "probabilities",
        output: str = "logits",
        prepare: Callable[[Tensor], Tensor] = unit_range,
        **sampling: Any,
    ) -> None:
        super().__init__()
        require_average(average)
        require_output(output)
        self.classifier = classifier
        self.average, self.output, self.prepare, self.sampling = average, output, prepare, sampling
        self._model = (model,)  # a tuple, which nn.Module does not take for a part

    @property
    def model(self) -> MultiViewModel:
        """What generates the views."""
        return self._model[0]

    def forward(self, views: Views, known: KnownViews | None = None, sample_ids: Tensor | None = None) -> Tensor:
        """Classify objects.

        Args:
            views: uint8 [B, V, C, H, W], entries of missing views are ignored; or the named views alone, as
                ``MultiViewModel.generate`` takes them: [B, C, H, W] for one; or images in its other forms.
            known: bool [B, V]; or the name of the view that is there, or several names; nothing with a dict.
            sample_ids: int64 [B], what the noise of each object is keyed with; by default 0 .. B-1.

        Returns:
            float32 [B, K], logits unless ``output`` says otherwise; float64 of a classifier in float64.

        Raises:
            InputError, TypeError, ValueError, NotFinite: The views do not fit the model, or overflow; see
                ``MultiViewModel.generate``.
        """
        completed = self.model.generate(views, known, sample_ids=sample_ids, **self.sampling)
        batch, count = completed.shape[:2]
        pixels = self.prepare(completed.flatten(0, 1))
        own = next((weight for weight in self.classifier.parameters() if weight.is_floating_point()), None)
        if own is not None and pixels.is_floating_point():
            pixels = pixels.to(own.dtype)
        logits = self.classifier(pixels)
        return average_views(logits.unflatten(0, (batch, count)), self.average, self.output)

    def extra_repr(self) -> str:
        """What it averages and returns, for ``print``."""
        return f"average={self.average!r}, output={self.output!r}"


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
        InputError: ``average`` or ``output`` is no choice that there is.
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
    require_choice("average", average, AVERAGES)


def require_output(output: str) -> None:
    """Raise InputError unless it is one of ``OUTPUTS``."""
    require_choice("output", output, OUTPUTS)
