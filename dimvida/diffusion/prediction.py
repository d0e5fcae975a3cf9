"""What a network's raw output means.

``noise``: minus the noise, as in the paper, so that x0 = (x + sigma out) / m. ``velocity``: v = m eps - sigma x0
(Salimans and Ho, "Progressive distillation", 2022, appendix D), so that x0 = m x - sigma out. A network that predicts
the noise must carry all of x through its hidden layers, and near t = 1 its errors are divided by m = 0.007 on the way
to x0; one that predicts the velocity need not. That is what a network of small width can learn.
"""

from __future__ import annotations


def prediction_factors(prediction: str, sigma: float, m: float) -> tuple[float, float]:
    """The factors (s, n) with which x0 = (x + s out) / n, the form that the step formula has.

    Args:
        prediction: ``noise`` or ``velocity``.
        sigma: Marginal standard deviation at the time of the output, in [0, 1).
        m: Marginal mean factor, in (0, 1].

    Raises:
        ValueError: If ``prediction`` is neither.
    """
    if prediction == "noise":
        return sigma, m
    if prediction == "velocity":
        return -sigma / m, 1 / m
    raise ValueError(f"prediction {prediction!r}: choose noise or velocity")
