"""What a network's raw output means.

``noise``: minus the noise, as in the paper. ``velocity``: v = m eps - sigma x0 (Salimans and Ho, "Progressive
distillation", 2022, appendix D), from which eps = sigma x + m v. A network that predicts the noise must carry all
of x through its hidden layers, and near t = 1 its errors are divided by m = 0.007 on the way to x0; one that
predicts the velocity need not, because x0 = m x - sigma v. That is what a network of small width can learn.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from dimvida.diffusion.schedule import VPSchedule

Network = Callable[[Tensor, Tensor], Tensor]


def noise_prediction(network: Network, prediction: str, schedule: VPSchedule) -> Network:
    """A network that returns minus the predicted noise, whatever the given one predicts.

    Args:
        network: Maps (x [B, V, D], tau [B, V]) to its prediction [B, V, D].
        prediction: ``noise`` or ``velocity``.
        schedule: Marginals of the forward SDE.

    Raises:
        ValueError: If ``prediction`` is neither.
    """
    if prediction == "noise":
        return network
    if prediction != "velocity":
        raise ValueError(f"prediction {prediction!r}: choose noise or velocity")

    def minus_noise(x: Tensor, tau: Tensor) -> Tensor:
        m, sigma = schedule.mean(tau)[..., None], schedule.sigma(tau)[..., None]
        return -sigma * x - m * network(x, tau)

    return minus_noise
