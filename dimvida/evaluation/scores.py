"""Scores of many pictures of the same objects, batch by batch: no picture is kept."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import torch
from torch import Tensor

from dimvida.errors import DimvidaError
from dimvida.evaluation.estimates import Tally
from dimvida.evaluation.frechet import FeatureSums, estimate_distance, object_groups
from dimvida.evaluation.metrics import MetricSet
from dimvida.results.schema import Scores


@dataclass(frozen=True)
class TrueViews:
    """The true views, and what metrics need to know of them.

    Attributes:
        images: uint8 [N, V, C, H, W].
        labels: int64 [N]; -1 without a class.
        groups: Group of each object for intervals of distances, int64 [N].
        features: Features of every view by the distance's name, float32 [N, V, D].
        reference: Scores of the true views themselves: the coherence that a perfect generator would reach.
    """

    images: Tensor
    labels: Tensor
    groups: Tensor
    features: dict[str, Tensor]
    reference: Scores

    @property
    def views(self) -> int:
        """Number V of views."""
        return self.images.shape[1]


def study_true_views(metrics: MetricSet, images: Tensor, labels: Tensor, *, batch: int, seed: int = 0) -> TrueViews:
    """Look at the true views once.

    Args:
        metrics: What will be measured.
        images: uint8 [N, V, C, H, W].
        labels: int64 [N]; -1 without a class.
        batch: Objects at a time.
        seed: Decides which objects are in one group.
    """
    coherence, parts = Tally(*images.shape[:2]), defaultdict(list)
    every = torch.arange(images.shape[1])
    networks = metrics.inception is not None or metrics.judge is not None
    for start in range(0, len(images), batch) if networks else ():
        rows = slice(start, min(start + batch, len(images)))
        features, agreement = _look(metrics, images[rows], labels[rows])
        for name, rows_of_features in features.items():
            parts[name].append(rows_of_features.float().cpu())
        if agreement is not None:
            coherence.add(rows, every, agreement)
    features = {name: torch.cat(rows_of_features) for name, rows_of_features in parts.items()}
    reference = {"coherence": coherence.estimate()} if metrics.coherence else {}
    return TrueViews(images, labels, object_groups(len(images), seed), features, reference)


class Scorer:
    """Takes pictures of the objects' views and scores them against the true ones.

    Args:
        metrics: What is measured.
        true: The true views of the same objects.
    """

    def __init__(self, metrics: MetricSet, true: TrueViews) -> None:
        self._metrics, self._true = metrics, true
        shape = true.images.shape[:2]
        self._tallies = {name: Tally(*shape, count_equal=name == "psnr") for name in metrics.per_picture}
        self._shown = torch.zeros(shape, dtype=torch.int64)  # how often each object's view was scored
        groups = int(true.groups.max()) + 1
        self._moments = {
            name: [FeatureSums.empty(features.shape[-1], metrics.device) for _ in range(groups)]
            for name, features in true.features.items()
        }

    def add(self, rows: slice, views: Tensor, pictures: Tensor) -> None:
        """Score a batch.

        Args:
            rows: The objects.
            views: Which view each picture shows, int64 [M], all different.
            pictures: uint8 [len(rows), M, C, H, W].
        """
        pictures = pictures.to(self._metrics.device)
        truth = self._true.images[rows][:, views].to(self._metrics.device)
        shape = pictures.shape[:2]
        for name, metric in self._metrics.pictures.items():
            values = metric(pictures.flatten(0, 1), truth.flatten(0, 1))
            if values.isnan().any():  # a mean would leave it out without a word
                raise DimvidaError(f"{name}: is not a number for {int(values.isnan().sum())} pictures")
            self._tallies[name].add(rows, views, values.unflatten(0, shape))
        features, agreement = _look(self._metrics, pictures, self._true.labels[rows])
        if agreement is not None:
            self._tallies["coherence"].add(rows, views, agreement)
        groups = self._true.groups[rows]
        for name, values in features.items():
            for group in groups.unique().tolist():
                chosen = values[(groups == group).to(values.device)].flatten(0, 1)
                self._moments[name][group] += FeatureSums.of(chosen)
        self._shown[rows, views] += 1

    def scores(self) -> Scores:
        """The scores over all pictures."""
        scores = {name: tally.estimate() for name, tally in self._tallies.items()}
        for name, moments in self._moments.items():
            scores[name] = estimate_distance(moments, self._true_moments(name))
        return {name: scores[name] for name in self._metrics.available}

    def view_scores(self, view: int) -> Scores:
        """The scores over the pictures of one view; distances are not among them."""
        return {name: tally.estimate(view=view) for name, tally in self._tallies.items()}

    def class_scores(self, label: int) -> Scores:
        """The scores over the pictures of one class's objects; distances are not among them."""
        chosen = self._true.labels == label
        return {name: tally.estimate(objects=chosen) for name, tally in self._tallies.items()}

    def object_means(self, metric: str) -> Tensor:
        """The mean of a metric over each object's pictures, float64 [N]."""
        return self._tallies[metric].object_means()

    def _true_moments(self, name: str) -> list[FeatureSums]:
        """The true pictures of each group, every view as often as it was scored."""
        features = self._true.features[name]
        moments = []
        for group in range(len(self._moments[name])):
            chosen = self._true.groups == group
            rows = features[chosen].to(self._metrics.device)
            moments.append(FeatureSums.of(rows.flatten(0, 1), self._shown[chosen].flatten()))
        return moments


def _look(metrics: MetricSet, pictures: Tensor, labels: Tensor) -> tuple[dict[str, Tensor], Tensor | None]:
    """Features [B, M, D] by name, and the judge's agreement [B, M] with the labels, of uint8 [B, M, C, H, W]."""
    shape, flat = pictures.shape[:2], pictures.flatten(0, 1)
    features: dict[str, Tensor] = {}
    if metrics.inception is not None:
        features["fid"] = metrics.inception(flat).unflatten(0, shape)
    if metrics.judge is None:
        return features, None
    seen, judged = metrics.judge(flat)
    if metrics.feature_frechet:
        features["feature_frechet"] = judged.unflatten(0, shape)
    return features, metrics.judge.agreement(seen.unflatten(0, shape), labels) if metrics.coherence else None
