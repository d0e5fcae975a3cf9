"""A classifier that judges pictures: does it see the true class in them (coherence), and which features."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dimvida.evaluation.metrics import as_rgb
from dimvida.models.classifiers import require_known

CHUNK = 256  # pictures at a time


class Judge:
    """A classifier with the features that its last linear layer takes.

    Args:
        classifier: uint8 [N, 3, H, W] to logits [N, K]; its last ``nn.Linear`` makes the logits.
        known: Names of its K classes.
        classes: Names of the data's classes.
        where: What to name in messages.
        device: Where to compute.

    Raises:
        InputError: The data has classes that the classifier does not know.
    """

    def __init__(
        self,
        classifier: nn.Module,
        known: Sequence[str],
        classes: Sequence[str],
        where: str,
        device: torch.device | str = "cpu",
    ) -> None:
        require_known(classes, known, where)
        # Its output for each of the data's classes, and for no class (-1, the last) one that it never gives.
        self._outputs = torch.tensor([list(known).index(name) for name in classes] + [-1])
        self._classifier, self._device = classifier.eval().to(device), device
        self._features: list[Tensor] = []
        last = [module for module in classifier.modules() if isinstance(module, nn.Linear)][-1]
        last.register_forward_pre_hook(lambda module, inputs: self._features.append(inputs[0]))

    @torch.no_grad()
    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Look at pictures.

        Args:
            images: uint8 [N, 3, H, W], or [N, 1, H, W] of gray ones.

        Returns:
            The class it sees in each as its own number, int64 [N] on the CPU; features float32 [N, D] on its device.
        """
        self._features.clear()
        seen = [self._classifier(as_rgb(part.to(self._device))).argmax(1).cpu() for part in images.split(CHUNK)]
        return torch.cat(seen), torch.cat(self._features).float()

    def agreement(self, seen: Tensor, labels: Tensor) -> Tensor:
        """Whether it sees the true class.

        Args:
            seen: Its classes, int64 [B, M].
            labels: The data's, int64 [B]; -1 for none.

        Returns:
            float64 [B, M]: 1 where they agree, 0 where not, NaN where there is no class.
        """
        right = (seen == self._outputs[labels][:, None]).double()
        return torch.where((labels >= 0)[:, None], right, torch.nan)
