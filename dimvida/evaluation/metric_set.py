"""Which metrics can be measured here, and why the others cannot."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dimvida.errors import InputError
from dimvida.evaluation.inception import InceptionFeatures, require_package
from dimvida.evaluation.judge import Judge
from dimvida.evaluation.metrics import psnr, ssim
from dimvida.evaluation.networks import SMALLEST as LPIPS_SMALLEST
from dimvida.evaluation.networks import PerceptualDistance
from dimvida.evaluation.weights import INCEPTION, SQUEEZENET, PublishedWeights, Unavailable, obtain_weights
from dimvida.models.classifier_checkpoint import load_classifier
from dimvida.models.classifiers import ImageClassifier

METRICS = ("psnr", "ssim", "lpips", "fid", "coherence", "feature_frechet")
SSIM_SMALLEST = 11  # its window

PictureMetric = Callable[[Tensor, Tensor], Tensor]
"""uint8 [N, 3, H, W], generated and true, to float64 [N]."""


@dataclass
class MetricSet:
    """What is measured.

    Attributes:
        device: Where pictures are wanted.
        pictures: Metrics of one picture beside the true one, by name.
        inception: Gives the features of FID.
        judge: Gives coherence and the features of ``feature_frechet``.
        coherence, feature_frechet: Which of the judge's metrics are wanted and possible.
        reasons: Why a metric that was asked for is not measured.
    """

    device: torch.device
    pictures: dict[str, PictureMetric] = field(default_factory=dict)
    inception: InceptionFeatures | None = None
    judge: Judge | None = None
    coherence: bool = False
    feature_frechet: bool = False
    reasons: dict[str, str] = field(default_factory=dict)

    @property
    def available(self) -> tuple[str, ...]:
        """Names of what is measured, in the order of ``METRICS``."""
        single = {
            "fid": self.inception is not None,
            "coherence": self.coherence,
            "feature_frechet": self.feature_frechet,
        }
        return tuple(name for name in METRICS if name in self.pictures or single.get(name))

    @property
    def per_picture(self) -> tuple[str, ...]:
        """Those that have a value for each picture, and so for each view and class."""
        return tuple(name for name in self.available if name in self.pictures or name == "coherence")

    def to_dict(self) -> dict[str, Any]:
        """For JSON: every metric that was asked for, with the reason where it is not available."""
        return {
            name: {"available": True} if name in self.available else {"available": False, "reason": self.reasons[name]}
            for name in METRICS
            if name in self.available or name in self.reasons
        }


def build_metrics(
    image_size: int,
    classes: Sequence[str],
    device: torch.device,
    *,
    names: Sequence[str] = METRICS,
    inception_weights: Path | None = None,
    lpips_weights: Path | None = None,
    classifier: Path | ImageClassifier | None = None,
) -> MetricSet:
    """Make every metric that can be had.

    Args:
        image_size: Edge of the pictures in pixels.
        classes: The data's classes; none where its objects have no class.
        device: Where networks run.
        names: The metrics that are wanted.
        inception_weights, lpips_weights: Files; None looks in torch.hub's cache, then downloads.
        classifier: What judges the pictures, or its folder; without one its metrics are unavailable.

    Raises:
        InputError: For an unknown name, or a file or folder that is given and cannot be used.
    """
    check_names(names)
    metrics = MetricSet(device)
    maker = _Maker(metrics, image_size, classes, inception_weights, lpips_weights, classifier)
    for name in METRICS:
        if name in names:
            try:
                getattr(maker, name)()
            except Unavailable as reason:
                metrics.reasons[name] = str(reason)
    return metrics


def check_names(names: Sequence[str]) -> None:
    """Raise InputError unless all of them are metrics."""
    for name in names:
        if name not in METRICS:
            raise InputError(f"--metrics {name}: choose from {', '.join(METRICS)}")


@dataclass
class _Maker:
    """Adds metrics to a set: a method for each, of its name, which raises Unavailable."""

    metrics: MetricSet
    image_size: int
    classes: Sequence[str]
    inception_weights: Path | None
    lpips_weights: Path | None
    classifier: Path | ImageClassifier | None

    def psnr(self) -> None:
        self.metrics.pictures["psnr"] = psnr

    def ssim(self) -> None:
        if self.image_size < SSIM_SMALLEST:
            raise Unavailable(f"its window is {SSIM_SMALLEST} pixels wide, the pictures only {self.image_size}")
        self.metrics.pictures["ssim"] = ssim

    def lpips(self) -> None:
        if self.image_size < LPIPS_SMALLEST:
            raise Unavailable(f"SqueezeNet needs pictures of {LPIPS_SMALLEST} pixels, these have {self.image_size}")
        state = obtain_weights(SQUEEZENET, self.lpips_weights)
        where = _where(SQUEEZENET, self.lpips_weights)
        self.metrics.pictures["lpips"] = PerceptualDistance(state, where, self.metrics.device)

    def fid(self) -> None:
        require_package()  # before its weights are downloaded
        state = obtain_weights(INCEPTION, self.inception_weights)
        self.metrics.inception = InceptionFeatures(
            state, _where(INCEPTION, self.inception_weights), self.metrics.device
        )

    def coherence(self) -> None:
        if self.classifier is not None and not self.classes:
            raise Unavailable("the objects have no class")
        self._make_judge()
        self.metrics.coherence = True

    def feature_frechet(self) -> None:
        self._make_judge()
        self.metrics.feature_frechet = True

    def _make_judge(self) -> None:
        if self.classifier is None:
            raise Unavailable("needs a classifier of these classes; train one and give its folder with --judge")
        if self.metrics.judge is None:
            network, where = self.classifier, "--judge"
            if not isinstance(network, ImageClassifier):
                network, where = load_classifier(network), f"--judge {network}"
            self.metrics.judge = Judge(network, network.classes, self.classes, where, self.metrics.device)


def _where(published: PublishedWeights, file: Path | None) -> str:
    return f"{published.option} {file}" if file else str(published.cached)
