"""Metrics: which can be measured here, and why the others cannot; means over their values.

Those that need no network are in ``picture_metrics``; ``dimvida.results.metrics`` says how all are shown.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from scipy.stats import t as student
from torch import Tensor

from dimvida.errors import InputError
from dimvida.evaluation.networks import (
    LPIPS_SMALLEST,
    InceptionFeatures,
    Judge,
    PerceptualDistance,
    require_torch_fidelity,
)
from dimvida.evaluation.picture_metrics import PICTURE_METRICS, PictureMetric
from dimvida.evaluation.weights import INCEPTION, SQUEEZENET, Unavailable, obtain_weights
from dimvida.models.classifiers import ImageClassifier
from dimvida.results.metrics import METRICS
from dimvida.results.schema import Availability, Estimate

LEVEL = 0.95  # of intervals


@dataclass
class MetricSet:
    """The metrics that are measured, and why others are not.

    Attributes:
        device: Where pictures are wanted.
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
        device: Where networks run.
        names: The metrics that are wanted; None for all.
        inception_weights, lpips_weights: Files; None looks in torch.hub's cache, then downloads.
        classifier: What judges the pictures; without one its metrics are unavailable.

    Raises:
        InputError: For an unknown name, a file that cannot be used, or a classifier that does not know all classes.
    """
    names = tuple(METRICS) if names is None else names
    if unknown := [name for name in names if name not in METRICS]:
        raise InputError(f"--metrics {unknown[0]}: choose from {', '.join(METRICS)}")
    metrics = MetricSet(device)

    @functools.cache
    def judge() -> Judge:
        """The one judge of all metrics that ask for it."""
        if classifier is None:
            raise Unavailable("needs a classifier of these classes; train one and give its folder with --judge")
        return Judge(classifier, classifier.classes, classes, "--judge", device)

    def add(name: str) -> None:
        """Add one, or raise ``Unavailable`` with what would help."""
        match name:
            case "lpips" if image_size < LPIPS_SMALLEST:
                raise Unavailable(f"SqueezeNet needs pictures of {LPIPS_SMALLEST} pixels, these have {image_size}")
            case "lpips":
                state = obtain_weights(SQUEEZENET, lpips_weights)
                metrics.pictures[name] = PerceptualDistance(state, SQUEEZENET.place(lpips_weights), device)
            case "fid":
                require_torch_fidelity()  # before its weights are downloaded
                state = obtain_weights(INCEPTION, inception_weights)
                metrics.distances[name] = InceptionFeatures(state, INCEPTION.place(inception_weights), device)
            case "coherence" if classifier is not None and not classes:
                raise Unavailable("the objects have no class")
            case "coherence":
                metrics.judged[name] = judge()
            case "feature_frechet":
                metrics.distances[name] = judge()
            case _:
                measure, window = PICTURE_METRICS[name]
                if image_size < window:
                    raise Unavailable(f"its window is {window} pixels wide, the pictures only {image_size}")
                metrics.pictures[name] = measure

    for name in METRICS:
        if name in names:
            try:
                add(name)
            except Unavailable as reason:
                metrics.reasons[name] = str(reason)
    return metrics


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
            rows: The objects.
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
        equal: See ``Estimate``.
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
