"""Metrics: those of a picture, which can be measured here and why the others cannot, and means over their values.

Those that look with a network are in ``networks``; ``dimvida.results.metrics`` says how all are shown.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from scipy.stats import t as student
from torch import Tensor
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

from dimvida.errors import require_choice
from dimvida.evaluation.networks import NETWORK_METRICS, InceptionFeatures, Judge, MetricInputs
from dimvida.evaluation.weights import Unavailable
from dimvida.models.classifiers import ImageClassifier
from dimvida.results.metrics import METRICS
from dimvida.results.schema import Availability, Estimate

LEVEL = 0.95  # of intervals
BACKGROUND_TOLERANCE = 0.1  # of the range of a channel: what differs by more from the background is the object
PICTURE_CHUNK = 256  # pictures at a time: SSIM makes several copies of each

PictureMetric = Callable[[Tensor, Tensor], Tensor]
"""A function of generated and true pictures, uint8 [N, C, H, W] each, that gives float64 [N]."""

PICTURE_METRICS: dict[str, tuple[PictureMetric, int]] = {}
"""Those that need no network, by name, with the window that a picture must hold, in pixels; see ``picture_metric``."""


def picture_metric(window: int = 1) -> Callable[[PictureMetric], PictureMetric]:
    """Make a function of float32 pictures in 0..1 a metric of its name, of uint8 pictures, some of them at a time.

    Args:
        window: Pixels of a picture's edge that it needs at least.
    """

    def declare(metric: PictureMetric) -> PictureMetric:
        @functools.wraps(metric)
        def of_bytes(images: Tensor, references: Tensor) -> Tensor:
            if images.shape != references.shape or images.ndim != 4:
                raise ValueError(f"expected two times [N, C, H, W], not {[*images.shape]} and {[*references.shape]}")
            chunks = zip(images.split(PICTURE_CHUNK), references.split(PICTURE_CHUNK), strict=True)
            # reshape: a metric of one picture comes back without a dimension.
            values = [metric(x.float() / 255, y.float() / 255).reshape(-1) for x, y in chunks]
            return torch.cat(values).double().cpu()

        PICTURE_METRICS[metric.__name__] = of_bytes, window
        return of_bytes

    return declare


@picture_metric()
def psnr(images: Tensor, references: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB.

    Args:
        images: uint8 [N, C, H, W].
        references: The true pictures, uint8 of the same shape.

    Returns:
        float64 [N]; infinity where two pictures are equal.
    """
    return peak_signal_noise_ratio(images, references, data_range=1.0, reduction="none", dim=(1, 2, 3))


@picture_metric(window=11)
def ssim(images: Tensor, references: Tensor) -> Tensor:
    """Structural similarity with a Gaussian window of 11 pixels, sigma 1.5.

    Args:
        images: uint8 [N, C, H, W]; H and W at least 11.
        references: The true pictures, uint8 of the same shape.

    Returns:
        float64 [N], at most 1; accurate to 1e-4, because variances are differences in float32.
    """
    return structural_similarity_index_measure(images, references, data_range=1.0, reduction="none")


@picture_metric()
def colour(images: Tensor, references: Tensor) -> Tensor:
    """Squared difference of mean colours, whose root mean over pictures is what is reported.

    The mean is over the pixels of each picture that are not background: some channel differs from the median colour of
    the true picture's border by more than a tenth of the range. Where there are none it is the background's colour.

    Args:
        images: uint8 [N, C, H, W].
        references: The true pictures, uint8 of the same shape.

    Returns:
        float64 [N], the mean over channels in squares of their range.
    """
    edges = references[:, :, 0], references[:, :, -1], references[:, :, :, 0], references[:, :, :, -1]
    background = torch.cat(edges, -1).median(-1).values[..., None, None]
    return (_mean_colour(images, background) - _mean_colour(references, background)).square().mean(1)


def _mean_colour(images: Tensor, background: Tensor) -> Tensor:
    """Mean [N, C] of the pixels of [N, C, H, W] that are not background [N, C, 1, 1]."""
    apart = images - background
    is_object = (apart.abs().amax(1, keepdim=True) > BACKGROUND_TOLERANCE).to(images)
    return background.flatten(1) + (apart * is_object).sum((2, 3)) / is_object.sum((2, 3)).clamp_min(1)


@dataclass
class MetricSet:
    """The metrics that are measured, and why others are not.

    Attributes:
        device: The device that pictures to measure must be on.
        pictures: Metrics of one picture beside the true one, by name.
        distances: Fréchet distances by name, each with the network whose features it is of.
        judged: Shares of pictures in which a judge sees the object's class, by name, each with that judge.
        reasons: Why a metric that was asked for is not measured.
    """

    device: torch.device
    pictures: dict[str, PictureMetric] = field(default_factory=dict)
    distances: dict[str, InceptionFeatures | Judge] = field(default_factory=dict)
    judged: dict[str, Judge] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)

    @property
    def available(self) -> tuple[str, ...]:
        """Names of what is measured, in the order of ``METRICS``."""
        return tuple(name for name in METRICS if name in self.pictures | self.distances | self.judged)

    @property
    def per_picture(self) -> tuple[str, ...]:
        """Those that have a value for each picture, and so for each view and class."""
        return tuple(name for name in self.available if name in self.pictures | self.judged)

    @property
    def networks(self) -> list[InceptionFeatures | Judge]:
        """What has to look at every picture, each network once."""
        return list(dict.fromkeys([*self.distances.values(), *self.judged.values()]))

    def to_result(self) -> dict[str, Availability]:
        """Every metric that was asked for, with the reason where it is not available."""
        names = (name for name in METRICS if name in self.available or name in self.reasons)
        return {name: Availability(name in self.available, self.reasons.get(name)) for name in names}


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
        device: The device that the metrics' networks compute on.
        names: The metrics that are wanted; None for all.
        inception_weights, lpips_weights: Files; None looks in torch.hub's cache, then downloads.
        classifier: What judges the pictures; without one its metrics are unavailable.

    Raises:
        InputError: For an unknown name, a file that cannot be used, or a classifier that does not know all classes.
    """
    names = tuple(METRICS) if names is None else names
    for name in names:
        require_choice("--metrics", name, METRICS)
    inputs = MetricInputs(image_size, classes, device, inception_weights, lpips_weights, classifier)
    metrics, obtain = MetricSet(device), functools.cache(lambda network: network.obtain(inputs))  # each network once
    for name in METRICS:
        if name in names:
            try:
                _add(metrics, name, inputs, obtain)
            except Unavailable as reason:
                metrics.reasons[name] = str(reason)
    return metrics


def _add(metrics: MetricSet, name: str, inputs: MetricInputs, obtain: Callable[[type], Any]) -> None:
    """Add one, or raise ``Unavailable`` with what would help."""
    if name in PICTURE_METRICS:
        measure, window = PICTURE_METRICS[name]
        if inputs.image_size < window:
            raise Unavailable(f"its window is {window} pixels wide, the pictures only {inputs.image_size}")
        metrics.pictures[name] = measure
        return
    network, kind = NETWORK_METRICS[name]
    made = obtain(network)
    if kind == "judged" and not inputs.classes:
        raise Unavailable("the objects have no class")
    {"pictures": metrics.pictures, "distances": metrics.distances, "judged": metrics.judged}[kind][name] = made


class Tally:
    """Sums of one metric by object and by view, from which every mean of it follows; no picture's value is kept.

    Args:
        objects: Number N of objects.
        views: Number V of views of each.
        count_equal: Infinite values mean equal pictures and are counted as such (PSNR).
        root: Values are squares, and what is estimated is the root of their mean.
    """

    def __init__(self, objects: int, views: int, *, count_equal: bool = False, root: bool = False) -> None:
        self._root = root
        self._sums = torch.zeros(objects, views, dtype=torch.float64)
        self._counts = torch.zeros(objects, views, dtype=torch.int64)
        self._equal = torch.zeros(objects, views, dtype=torch.int64) if count_equal else None

    def add(self, rows: slice, views: Tensor, values: Tensor) -> None:
        """Add pictures of consecutive objects.

        Args:
            rows: Which of the N objects the batch has, one after the other.
            views: Which view each column shows, int64 [M], all different.
            values: float64 [len(rows), M]; infinite ones (see ``count_equal``) and NaN (no value) stay out of means.
        """
        finite = values.isfinite()
        self._sums[rows, views] += torch.where(finite, values, 0.0)
        self._counts[rows, views] += finite
        if self._equal is not None:
            self._equal[rows, views] += values.isinf()

    def estimate(self, *, objects: Tensor | None = None, views: Sequence[int] | None = None) -> Estimate:
        """The mean over all pictures, or its root, or over those of some objects (bool [N]) or views."""
        chosen = torch.ones(len(self._sums), dtype=torch.bool) if objects is None else objects
        columns = slice(None) if views is None else list(views)
        sums, counts = self._sums[chosen][:, columns].sum(1), self._counts[chosen][:, columns].sum(1)
        equal = None if self._equal is None else int(self._equal[chosen][:, columns].sum())
        estimate = estimate_mean(sums, counts, equal=equal)
        if not self._root:
            return estimate
        # In this order max keeps NaN.
        mean, low, high = (math.sqrt(max(value, 0.0)) for value in (estimate.mean, estimate.low, estimate.high))
        error = estimate.standard_error / (2 * mean) if mean else math.nan
        return Estimate(mean, error, low, high, estimate.count, estimate.equal)

    def object_means(self) -> Tensor:
        """The mean of each object, float64 [N]; infinite where all its pictures are equal to the true ones."""
        counts = self._counts.sum(1)
        nothing = torch.inf if self._equal is not None else torch.nan
        return torch.where(counts > 0, self._sums.sum(1) / counts, nothing)


def estimate_mean(sums: Tensor, counts: Tensor, *, equal: int | None = None) -> Estimate:
    """The mean over all pictures, with an interval that counts objects, not pictures.

    Pictures of one object share its shape, its colours and its noise. The standard error is that of a ratio of sums
    over objects (Cochran, Sampling Techniques, 1977, section 2.11), the quantile that of Student's t.

    Args:
        sums: Sum over each object's pictures, float64 [N].
        counts: Pictures of each object, int [N]; objects without any are left out.
        equal: Number of pictures that equal the true ones and stay out of the mean; None where these are not counted.
    """
    counted = counts > 0
    sums, counts = sums[counted], counts[counted]
    pictures, objects = int(counts.sum()), len(sums)
    mean = float(sums.sum()) / pictures if pictures else math.nan
    error = math.nan
    if objects > 1:
        # Where all objects have equally many pictures, the standard error of the mean of their means.
        spread = float((sums - mean * counts).square().sum())
        error = math.sqrt(spread * objects / (objects - 1)) / pictures
    return estimate_with_interval(mean, error, objects - 1, pictures, equal)


def estimate_with_interval(mean: float, error: float, freedom: int, count: int, equal: int | None = None) -> Estimate:
    """A value with its 95 % interval, from its standard error and the degrees of freedom of that.

    Without a degree of freedom there is none. For ``count`` and ``equal`` see ``Estimate``.
    """
    half = float(student.ppf((1 + LEVEL) / 2, freedom)) * error  # NaN without a degree of freedom
    return Estimate(mean, error, mean - half, mean + half, count, equal)
