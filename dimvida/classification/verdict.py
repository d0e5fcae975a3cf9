"""Is the generator strong enough for averaging over views to help? Asked before anything is trained or tested.

Coherence is the share of generated views that a classifier of real views gives the class of their object. It is
measured on c, which the classifier never saw, so that e stays untouched. The verdict is taken on c too: the generator
is too weak if that classifier, averaged over the known and the generated views, is worse than on the known view alone
by more than chance (McNemar's mid-p below 0.05).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from dimvida.classification.answers import from_all, from_known
from dimvida.classification.mcnemar import McNemar, mcnemar
from dimvida.classification.views import SingleViews

SIGNIFICANT = 0.05


@dataclass(frozen=True, slots=True)
class Coherence:
    """What a classifier of real views makes of generated ones.

    Attributes:
        mean: Share of generated views whose object's class it names.
        standard_error: Of the mean, with objects as the independent units.
        count: Generated views.
        real: Its accuracy on the known, real views.
        averaged: Its accuracy averaged over known and generated views.
        test: Whether ``averaged`` (b) differs from ``real`` (a).
    """

    mean: float
    standard_error: float
    count: int
    real: float
    averaged: float
    test: McNemar

    @property
    def too_weak(self) -> bool:
        """Whether averaging over generated views does harm."""
        return self.averaged < self.real and self.test.p < SIGNIFICANT

    @property
    def verdict(self) -> str:
        """In one sentence."""
        if self.too_weak:
            start = "The generator is too weak for averaging to help a classifier that never saw a generated view"
        elif self.averaged > self.real and self.test.p < SIGNIFICANT:
            start = "Averaging helps even a classifier that never saw a generated view"
        else:
            start = "Averaging neither helps nor harms a classifier that never saw a generated view"
        return (
            f"{start}: a classifier of real views names the class of {100 * self.mean:.1f} % of the generated views "
            f"and of {100 * self.real:.1f} % of the real ones; averaged over both it is right for "
            f"{100 * self.averaged:.1f} % of the objects (p = {self.test.p:.2g})."
        )

    def to_dict(self) -> dict[str, Any]:
        """For JSON; what is not finite is None."""
        error = self.standard_error if math.isfinite(self.standard_error) else None
        values = {"mean": self.mean, "standard_error": error, "count": self.count}
        return {**values, "real": self.real, "averaged": self.averaged, "p": self.test.p}


def measure_coherence(logits: Tensor, labels: Tensor, objects: SingleViews) -> Coherence:
    """Coherence of completed objects.

    Args:
        logits: What a classifier of real views says of every view, float [N, V, K].
        labels: True labels as that classifier counts them, int64 [N].
        objects: Which view of each object is real.
    """
    right = logits.argmax(2) == labels[:, None]  # [N, V]
    generated = ~objects.known()
    shares = (right & generated).double().sum(1) / generated.sum(1)  # of each object
    error = float(shares.std() / math.sqrt(len(shares))) if len(shares) > 1 else math.nan
    real = from_known(logits, objects) == labels
    averaged = from_all([logits], "probabilities") == labels
    return Coherence(
        float(shares.mean()),
        error,
        int(generated.sum()),
        float(real.double().mean()),
        float(averaged.double().mean()),
        mcnemar(real, averaged),
    )
