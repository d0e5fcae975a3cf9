"""Which metrics can be measured here, and why the others cannot.

``MAKERS`` has a function for each metric that adds it to a ``MetricSet``; ``dimvida.results.metrics`` says how its
numbers are shown.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

from dimvida.errors import InputError
from dimvida.evaluation.networks import (
    LPIPS_SMALLEST,
    InceptionFeatures,
    Judge,
    PerceptualDistance,
    require_torch_fidelity,
)
from dimvida.evaluation.weights import INCEPTION, SQUEEZENET, PublishedWeights, Unavailable, obtain_weights
from dimvida.models.classifiers import ImageClassifier
from dimvida.results.metrics import METRICS
from dimvida.results.schema import Availability

SSIM_SMALLEST = 11  # its window
BACKGROUND = 0.1  # of the range of a channel: what differs by more from the background is the object
CHUNK = 256  # pictures at a time: SSIM makes several copies of each

PictureMetric = Callable[[Tensor, Tensor], Tensor]
"""A function of generated and true pictures, uint8 [N, C, H, W] each, that gives float64 [N]."""


@dataclass
class MetricSet:
    """The metrics that are measured, and why others are not.

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

    def to_result(self) -> dict[str, Availability]:
        """Every metric that was asked for, with the reason where it is not available."""
        return {
            name: Availability(name in self.available, None if name in self.available else self.reasons[name])
            for name in METRICS
            if name in self.available or name in self.reasons
        }


def build_metrics(
    image_size: int,
    classes: Sequence[str],
    device: torch.device,
    *,
    names: Sequence[str] | None = None,
    inception_weights: Path | None = None,
    lpips_weights: Path | None = None,
    classifier: ImageClassifier | None = None,
) -> MetricSet:
    """Make every metric that can be had.

    Args:
        image_size: Edge of the pictures in pixels.
        classes: The data's classes; none where its objects have no class.
        device: Where networks run.
        names: The metrics that are wanted; None for all.
        inception_weights, lpips_weights: Files; None looks in torch.hub's cache, then downloads.
        classifier: What judges the pictures; without one its metrics are unavailable.

    Raises:
        InputError: For an unknown name, a file that is given and cannot be used, or a classifier that does not know all
            classes.
    """
    names = tuple(METRICS) if names is None else names
    check_names(names)
    metrics = MetricSet(device)
    given = _Given(image_size, classes, inception_weights, lpips_weights, classifier)
    for name in METRICS:
        if name in names:
            try:
                MAKERS[name](metrics, given)
            except Unavailable as reason:
                metrics.reasons[name] = str(reason)
    return metrics


def check_names(names: Sequence[str]) -> None:
    """Raise InputError unless all of them are metrics."""
    for name in names:
        if name not in METRICS:
            raise InputError(f"--metrics {name}: choose from {', '.join(METRICS)}")


def psnr(images: Tensor, references: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB.

    Args:
        images: uint8 [N, C, H, W].
        references: The same shape.

    Returns:
        float64 [N]; infinity where two pictures are equal.
    """

    def metric(x: Tensor, y: Tensor) -> Tensor:
        return peak_signal_noise_ratio(x, y, data_range=1.0, reduction="none", dim=(1, 2, 3))

    return _per_picture(metric, images, references)


def ssim(images: Tensor, references: Tensor) -> Tensor:
    """Structural similarity with a Gaussian window of 11 pixels, sigma 1.5.

    Args:
        images: uint8 [N, C, H, W]; H and W at least 11.
        references: The same shape.

    Returns:
        float64 [N], at most 1; accurate to 1e-4, because variances are differences in float32.
    """

    def metric(x: Tensor, y: Tensor) -> Tensor:
        return structural_similarity_index_measure(x, y, data_range=1.0, reduction="none")

    return _per_picture(metric, images, references)


def colour(images: Tensor, references: Tensor) -> Tensor:
    """Squared difference of mean colours, whose root mean over pictures is what is reported.

    The mean is over the pixels of each picture that are not background: some channel differs from the median colour of
    the true picture's border by more than a tenth of the range. Where there are none it is the background's colour.

    Args:
        images: uint8 [N, C, H, W].
        references: The same shape.

    Returns:
        float64 [N], the mean over channels in squares of their range.
    """

    def metric(x: Tensor, y: Tensor) -> Tensor:
        border = torch.cat([y[:, :, 0], y[:, :, -1], y[:, :, :, 0], y[:, :, :, -1]], -1)
        background = border.median(-1).values[..., None, None]
        return (_mean_colour(x, background) - _mean_colour(y, background)).square().mean(1)

    return _per_picture(metric, images, references)


def _mean_colour(images: Tensor, background: Tensor) -> Tensor:
    """Mean [N, C] of the pixels of [N, C, H, W] that are not background [N, C, 1, 1]."""
    apart = images - background
    is_object = (apart.abs().amax(1, keepdim=True) > BACKGROUND).to(images)
    return background.flatten(1) + (apart * is_object).sum((2, 3)) / is_object.sum((2, 3)).clamp_min(1)


@dataclass(frozen=True, slots=True)
class _Given:
    """What metrics are made of; see ``build_metrics``."""

    image_size: int
    classes: Sequence[str]
    inception_weights: Path | None
    lpips_weights: Path | None
    classifier: ImageClassifier | None


def _add_psnr(metrics: MetricSet, given: _Given) -> None:
    metrics.pictures["psnr"] = psnr


def _add_ssim(metrics: MetricSet, given: _Given) -> None:
    if given.image_size < SSIM_SMALLEST:
        raise Unavailable(f"its window is {SSIM_SMALLEST} pixels wide, the pictures only {given.image_size}")
    metrics.pictures["ssim"] = ssim


def _add_colour(metrics: MetricSet, given: _Given) -> None:
    metrics.pictures["colour"] = colour


def _add_lpips(metrics: MetricSet, given: _Given) -> None:
    if given.image_size < LPIPS_SMALLEST:
        raise Unavailable(f"SqueezeNet needs pictures of {LPIPS_SMALLEST} pixels, these have {given.image_size}")
    state = obtain_weights(SQUEEZENET, given.lpips_weights)
    metrics.pictures["lpips"] = PerceptualDistance(state, _where(SQUEEZENET, given.lpips_weights), metrics.device)


def _add_fid(metrics: MetricSet, given: _Given) -> None:
    require_torch_fidelity()  # before its weights are downloaded
    state = obtain_weights(INCEPTION, given.inception_weights)
    metrics.inception = InceptionFeatures(state, _where(INCEPTION, given.inception_weights), metrics.device)


def _add_coherence(metrics: MetricSet, given: _Given) -> None:
    if given.classifier is not None and not given.classes:
        raise Unavailable("the objects have no class")
    _add_judge(metrics, given)
    metrics.coherence = True


def _add_feature_frechet(metrics: MetricSet, given: _Given) -> None:
    _add_judge(metrics, given)
    metrics.feature_frechet = True


def _add_judge(metrics: MetricSet, given: _Given) -> None:
    if given.classifier is None:
        raise Unavailable("needs a classifier of these classes; train one and give its folder with --judge")
    if metrics.judge is None:
        metrics.judge = Judge(given.classifier, given.classifier.classes, given.classes, "--judge", metrics.device)


MAKERS: dict[str, Callable[[MetricSet, _Given], None]] = {
    "psnr": _add_psnr,
    "ssim": _add_ssim,
    "lpips": _add_lpips,
    "colour": _add_colour,
    "fid": _add_fid,
    "coherence": _add_coherence,
    "feature_frechet": _add_feature_frechet,
}
"""What adds each metric of ``dimvida.results.metrics`` to a set, or raises ``Unavailable`` with what would help."""


def _where(published: PublishedWeights, file: Path | None) -> str:
    return f"{published.option} {file}" if file else str(published.cached)


def _per_picture(metric: Callable[[Tensor, Tensor], Tensor], images: Tensor, references: Tensor) -> Tensor:
    if images.shape != references.shape or images.ndim != 4:
        raise ValueError(f"expected two times [N, C, H, W], not {list(images.shape)} and {list(references.shape)}")
    chunks = zip(images.split(CHUNK), references.split(CHUNK), strict=True)
    # reshape: a metric of one picture comes back without a dimension.
    values = [metric(x.float() / 255, y.float() / 255).reshape(-1) for x, y in chunks]
    return torch.cat(values).double().cpu()
