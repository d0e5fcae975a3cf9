"""What a classifier minimises: the cross entropy of single views."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torchvision.transforms import v2

from dimvida.models.classifiers import ImageClassifier, predict_logits
from dimvida.training.classifier_data import LabelledImages
from dimvida.training.config import ClassifierStageConfig
from dimvida.training.seeds import derived_seed, seeded


class ClassifierObjective:
    """Cross entropy of pictures.

    Args:
        network: The classifier to train.
        data: Pictures and labels.
        config: Augmentation.
        device: Where to compute.
    """

    name = "classifier"

    def __init__(
        self, network: ImageClassifier, data: LabelledImages, config: ClassifierStageConfig, device: torch.device
    ) -> None:
        self.network, self.data, self.device = network, data, device
        self.items = len(data.images)
        self._augment = v2.TrivialAugmentWide(fill=255) if config.augment == "trivial-augment-wide" else None

    def loss(self, indices: Tensor, seed: int, step: int) -> Tensor:
        if len(indices) == 1:
            # Batch norm has no statistics of a single value, which the last batch of an epoch may come to.
            indices = torch.cat([indices, (indices + 1) % self.items])
        images, labels = self.data.images[indices], self.data.labels[indices]
        # torchvision augments, and its MobileNets drop out, by the global generators.
        with seeded(derived_seed(seed, "classifier/augment and dropout", step), self.device):
            if self._augment is not None:
                images = torch.stack([self._augment(image) for image in images])
            logits = self.network(images.to(self.device))
        return cross_entropy(logits, labels.to(self.device))

    @torch.no_grad()
    def validate(self, network: nn.Module) -> dict[str, float]:
        """Loss and accuracy on what is held out; nothing if nothing is."""
        labels = self.data.held_out_labels
        if not len(labels):
            return {}
        logits = predict_logits(network, self.data.held_out, device=self.device)
        accuracy = (logits.argmax(1) == labels).double().mean()
        return {"loss": float(cross_entropy(logits, labels)), "accuracy": float(accuracy)}
