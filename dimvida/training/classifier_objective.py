"""What a classifier minimises: the cross entropy of single views."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torchvision.transforms import v2

from dimvida.models.classifiers import ImageClassifier, predict_logits
from dimvida.training.classifier_data import LabelledImages
from dimvida.training.ranks import Share
from dimvida.training.seeds import derived_seed, seeded
from dimvida.training.stage_config import ClassifierStageConfig


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
        self.draws_slowly = config.augment != "none"
        self._augment = v2.TrivialAugmentWide(fill=255) if config.augment == "trivial-augment-wide" else None

    def draw(self, indices: Tensor, seed: int, step: int, rows: slice) -> dict[str, Tensor]:
        places = indices[rows]
        if len(places) == 1:
            # Batch norm has no statistics of a single value, which the last batch of an epoch may come to.
            places = torch.cat([places, (places + 1) % self.items])
        images, labels = self.data.images[places], self.data.labels[places]
        if self._augment is not None:
            # torchvision draws from the global generator.
            with seeded(derived_seed(seed, "classifier/augment", step)):
                images = torch.stack([self._augment(image) for image in images])
        dropout_seed = torch.tensor(derived_seed(seed, "classifier/dropout", step))
        return {"images": images, "labels": labels, "dropout_seed": dropout_seed}

    def loss(self, share: Share, images: Tensor, labels: Tensor, dropout_seed: Tensor) -> Tensor:
        # torchvision's MobileNets drop out by the global generators.
        with seeded(int(dropout_seed), self.device):
            logits = self.network(images)
        return cross_entropy(logits, labels)

    @torch.no_grad()
    def validate(self, network: nn.Module) -> dict[str, float]:
        """Loss and accuracy on what is held out; nothing if nothing is."""
        labels = self.data.held_out_labels
        if not len(labels):
            return {}
        logits = predict_logits(network, self.data.held_out, device=self.device)
        accuracy = (logits.argmax(1) == labels).double().mean()
        return {"loss": float(cross_entropy(logits, labels)), "accuracy": float(accuracy)}
