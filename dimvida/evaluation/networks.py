"""LPIPS with SqueezeNet: how different two pictures look (Zhang et al., CVPR 2018), by the authors' package."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torchvision.models import squeezenet1_1

from dimvida.errors import InputError
from dimvida.evaluation.metrics import as_rgb
from dimvida.evaluation.weights import misfit

SMALLEST = 17
"""Edge in pixels below which SqueezeNet's last pooling has nothing left."""

CHUNK = 128  # pairs of pictures at a time


class PerceptualDistance:
    """LPIPS, version 0.1: the linear layers come with the package ``lpips``, the backbone's weights are given.

    Args:
        state: SqueezeNet 1.1 with torchvision's names; its classifier may be missing.
        where: What to name in messages.
        device: Where to compute.

    Raises:
        InputError: The weights are not those of SqueezeNet 1.1.
    """

    def __init__(self, state: Mapping[str, Tensor], where: str, device: torch.device | str = "cpu") -> None:
        with torch.random.fork_rng(devices=[]):  # initial weights, about to be replaced, are no reason to draw
            features = squeezenet1_1().features
            self._network = _untrained_lpips()
        prefix = "features."
        try:
            features.load_state_dict({k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)})
        except RuntimeError as error:
            raise InputError(f"{where}: is not SqueezeNet 1.1 with torchvision's names ({misfit(error)})") from None
        for part in self._network.net.children():
            for place, layer in part.named_children():  # named by their place among the features
                layer.load_state_dict(features[int(place)].state_dict())
        self._network.requires_grad_(False).to(device)
        self._device = device

    @torch.no_grad()
    def __call__(self, images: Tensor, references: Tensor) -> Tensor:
        """The distance of each pair, 0 for equal pictures.

        Args:
            images: uint8 [N, 3, H, W], or [N, 1, H, W] of gray ones; H and W at least ``SMALLEST``.
            references: The same shape.

        Returns:
            float64 [N] on the CPU.
        """
        chunks = zip(images.split(CHUNK), references.split(CHUNK), strict=True)
        values = [self._network(self._scaled(x), self._scaled(y)).flatten() for x, y in chunks]
        return torch.cat(values).double().cpu()

    def _scaled(self, pictures: Tensor) -> Tensor:
        return as_rgb(pictures.to(self._device)).float() / 127.5 - 1  # LPIPS is made for [-1, 1]


def _untrained_lpips() -> nn.Module:
    from lpips import LPIPS  # slow to import

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it builds its backbone in a way that torchvision has deprecated
        return LPIPS(net="squeeze", pnet_rand=True, verbose=False)
