"""The Inception network of FID: torch-fidelity's, as torchmetrics uses it."""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Mapping

import torch
from torch import Tensor

from dimvida.errors import InputError
from dimvida.evaluation.metrics import as_rgb
from dimvida.evaluation.weights import Unavailable, misfit

FEATURES = 2048
CHUNK = 32  # pictures at a time: each is enlarged to 299 x 299


def require_package() -> None:
    """Raise Unavailable if torch-fidelity is not installed."""
    if importlib.util.find_spec("torch_fidelity") is None:
        raise Unavailable("the package torch-fidelity is not installed: pip install 'dimvida[fid]'")


class InceptionFeatures:
    """Features of pictures as ``torchmetrics.image.fid.FrechetInceptionDistance`` computes them.

    Pictures are enlarged to 299 x 299 bilinearly with antialiasing, torchmetrics' default.

    Args:
        state: Weights with torch-fidelity's names.
        where: What to name in messages.
        device: Where to compute.
        size: Which features: 2048, the usual ones, or 768, 192 or 64.

    Raises:
        InputError: The weights are not those of that network.
        Unavailable: The package torch-fidelity is missing.
    """

    def __init__(
        self, state: Mapping[str, Tensor], where: str, device: torch.device | str = "cpu", *, size: int = FEATURES
    ) -> None:
        require_package()
        from torchmetrics.image.fid import NoTrainInceptionV3  # needs torch-fidelity

        # The network reads weights when it is made, and unpickles anything. What it gets here are tensors alone.
        buffer = io.BytesIO()
        torch.save(state, buffer)
        buffer.seek(0)
        try:
            with torch.random.fork_rng(devices=[]):
                self._network = NoTrainInceptionV3("inception-v3-compat", [str(size)], buffer).to(device)
        except RuntimeError as error:
            raise InputError(f"{where}: is not the Inception network of torch-fidelity ({misfit(error)})") from None
        self._device = device

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Features float32 [N, D], on the network's device, of uint8 [N, 3 or 1, H, W]."""
        return torch.cat([self._network(as_rgb(part.to(self._device))) for part in images.split(CHUNK)])
