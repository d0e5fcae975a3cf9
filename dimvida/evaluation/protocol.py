"""The paper's first table: how good generated views are, by how many views are known.

For k known views every set of k views, or a sample of them, is given in turn and the other V - k are generated. What
is generated is scored batch by batch against the true views; no picture is kept.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dimvida.data.batch import MultiViewBatch
from dimvida.errors import DimvidaError
from dimvida.evaluation.frechet import DistanceTally, object_groups
from dimvida.evaluation.metrics import MetricSet, Tally
from dimvida.evaluation.objects import SUBSETS, view_subsets, views_by_angle
from dimvida.results.metrics import METRICS
from dimvida.results.schema import Comparands, Scores, ScoresOfClass, ScoresOfKnown, ScoresOfView
from dimvida.sampling.multiview import MultiViewModel
from dimvida.sampling.trajectory import sample_id_tensor


@dataclass(frozen=True)
class ModelEvaluation:
    """A model's scores on a set of objects.

    Attributes:
        known: Scores over all generated pictures, for each number of known views.
        per_view: The same for each view by itself, without distances.
        per_class: The same for each class of the data; classes without objects are left out.
        per_angle: The same for the views that are where some that the model was trained on are (``trained``), and for
            the others (``untrained``); empty where views have no cameras.
        reconstruction: Scores of what the autoencoder makes of every view: no generated view can be expected to be
            closer. Over all sets of one size each view is generated equally often, so this is the ceiling for each of
            them.
        reference: Scores of the true views themselves: the classifier's own accuracy.
        subsets: The sets of known views that were given, by their size.
        ranked: The metric that objects are ranked by: LPIPS if it is measured, else PSNR, else None.
        object_means: The mean of that for each object, float64 [N], by the number of known views.
    """

    known: list[ScoresOfKnown]
    per_view: list[ScoresOfView]
    per_class: list[ScoresOfClass]
    per_angle: list[ScoresOfView]
    reconstruction: Scores
    reference: Scores
    subsets: dict[int, list[tuple[int, ...]]]
    ranked: str | None
    object_means: dict[int, Tensor]

    def to_result(self) -> dict[str, Any]:
        """All scores, by the names of ``EvaluationResult``."""
        return {
            "known": self.known,
            "reconstruction": Comparands(self.reconstruction),
            "reference": Comparands(self.reference),
            "per_view": self.per_view,
            "per_class": self.per_class,
            "per_angle": self.per_angle or None,
            "sheet_metric": self.ranked,
        }


def evaluate_model(
    model: MultiViewModel,
    objects: MultiViewBatch,
    classes: Sequence[str],
    metrics: MetricSet,
    counts: Sequence[int],
    *,
    cameras: Sequence[tuple[float, float]] | None = None,
    batch: int,
    most_subsets: int = SUBSETS,
    seed: int = 0,
    progress: Callable[[int], object] = lambda objects: None,
    introduce: Callable[[Scores], object] = lambda reference: None,
    **sampling: Any,
) -> ModelEvaluation:
    """Generate and score all views that k known views leave open, for every k that is asked for.

    Args:
        model: The model that generates the views.
        objects: N complete objects: all of their views are known.
        classes: Names of their classes.
        metrics: The metrics to take, with their networks.
        counts: Numbers of known views.
        cameras: Azimuth and elevation of the objects' views in degrees, for a camera-conditioned model; by default they
            are the model's named views.
        batch: Objects at a time.
        most_subsets: Where there are more sets of k views, so many of them are drawn.
        seed: Seed of the noise, the drawn sets and the groups of objects for intervals.
        progress: Called with the number of objects after each batch: of the true views, of the reconstruction, of
            each set of known views.
        introduce: Called with the scores of the true views, before anything is generated.
        sampling: ``steps``, ``solver``, ``backend`` and ``dtype`` of ``MultiViewModel.generate``.

    Raises:
        InputError: For a number of known views that does not fit.
    """
    true = study_true_views(metrics, objects.images, objects.labels, batch=batch, seed=seed)
    progress(len(objects))
    introduce(true.reference)
    ranked = next((name for name in ("lpips", "psnr") if name in metrics.pictures), None)
    labels = Counter(label for label in objects.labels.tolist() if label >= 0)
    reconstruction = _score_reconstruction(model, metrics, true, batch)
    evaluation = ModelEvaluation([], [], [], [], reconstruction, true.reference, {}, ranked, {})
    angles = {} if cameras is None else views_by_angle(model, cameras)
    progress(len(objects))
    for count in counts:
        chosen = view_subsets(len(objects.view_names), count, most_subsets, seed)
        scorer = Scorer(metrics, true)
        for given, rows, completed in complete_subsets(
            model, objects.images, objects.ids, chosen, batch=batch, cameras=cameras, seed=seed, **sampling
        ):
            missing = (~given).nonzero().flatten()
            scorer.add(rows, missing, completed[:, missing])
            progress(len(completed))
        total = math.comb(len(objects.view_names), count)
        evaluation.known.append(ScoresOfKnown(count, len(chosen), total, len(objects), scorer.scores()))
        for view, name in enumerate(objects.view_names):
            evaluation.per_view.append(ScoresOfView(count, name, scorer.view_scores([view])))
        for name, views in angles.items():
            evaluation.per_angle.append(ScoresOfView(count, name, scorer.view_scores(views)))
        for label, number in sorted(labels.items()):
            evaluation.per_class.append(ScoresOfClass(count, classes[label], number, scorer.class_scores(label)))
        evaluation.subsets[count] = chosen
        if ranked:
            evaluation.object_means[count] = scorer.object_means(ranked)
    return evaluation


def complete_subsets(
    model: MultiViewModel,
    images: Tensor,
    ids: Sequence[str],
    chosen: Sequence[tuple[int, ...]],
    *,
    batch: int,
    **sampling: Any,
) -> Iterator[tuple[Tensor, slice, Tensor]]:
    """Give every set of views in turn and generate the others, batch by batch.

    Every set starts from the same noise of an object, so differences between them are not chance.

    Args:
        model: The model that generates the views.
        images: Complete objects, uint8 [N, V, C, H, W].
        ids: Their ids, which the noise belongs to.
        chosen: The sets, see ``view_subsets``.
        batch: Objects at a time.
        sampling: Further arguments of ``MultiViewModel.generate``.

    Yields:
        The given views, bool [V]; the objects; all their views, uint8 [b, V, C, H, W].
    """
    for subset in chosen:
        given = torch.zeros(images.shape[1], dtype=torch.bool)
        given[list(subset)] = True
        for start in range(0, len(images), batch):
            rows = slice(start, min(start + batch, len(images)))
            part = images[rows]
            sample_ids = sample_id_tensor(ids[rows])
            yield given, rows, model.generate(part, given.expand(len(part), -1), sample_ids=sample_ids, **sampling)


def _score_reconstruction(model: MultiViewModel, metrics: MetricSet, true: TrueViews, batch: int) -> Scores:
    scorer, every = Scorer(metrics, true), torch.arange(true.images.shape[1])
    for start in range(0, len(true.images), batch):
        rows = slice(start, min(start + batch, len(true.images)))
        decoded = (model.decode(model.encode(true.images[rows])) * 255).round().to(torch.uint8)
        scorer.add(rows, every, decoded)
    return scorer.scores()


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


def study_true_views(metrics: MetricSet, images: Tensor, labels: Tensor, *, batch: int, seed: int = 0) -> TrueViews:
    """Look at the true views once.

    Args:
        metrics: The metrics that generated views will be measured by.
        images: uint8 [N, V, C, H, W].
        labels: int64 [N]; -1 without a class.
        batch: Objects at a time.
        seed: Decides which objects are in one group.
    """
    tallies, parts = {name: Tally(*images.shape[:2]) for name in metrics.judged}, defaultdict(list)
    every = torch.arange(images.shape[1])
    for start in range(0, len(images), batch) if metrics.networks else ():
        rows = slice(start, min(start + batch, len(images)))
        features, agreements = _look(metrics, images[rows], labels[rows])
        for name, rows_of_features in features.items():
            parts[name].append(rows_of_features.float().cpu())
        for name, agreement in agreements.items():
            tallies[name].add(rows, every, agreement)
    features = {name: torch.cat(rows_of_features) for name, rows_of_features in parts.items()}
    reference = {name: tally.estimate() for name, tally in tallies.items()}
    return TrueViews(images, labels, object_groups(len(images), seed), features, reference)


class Scorer:
    """Takes pictures of the objects' views and scores them against the true ones.

    Args:
        metrics: The metrics to take of each batch.
        true: The true views of the same objects.
    """

    def __init__(self, metrics: MetricSet, true: TrueViews) -> None:
        self._metrics, self._true = metrics, true
        shape = true.images.shape[:2]
        self._tallies = {
            name: Tally(*shape, count_equal=METRICS[name].counts_equal, root=METRICS[name].is_root)
            for name in metrics.per_picture
        }
        self._distances = {
            name: DistanceTally(features, true.groups, metrics.device) for name, features in true.features.items()
        }

    def add(self, rows: slice, views: Tensor, pictures: Tensor) -> None:
        """Score a batch.

        Args:
            rows: Which of the N objects the batch has, one after the other.
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
        features, agreements = _look(self._metrics, pictures, self._true.labels[rows])
        for name, agreement in agreements.items():
            self._tallies[name].add(rows, views, agreement)
        for name, values in features.items():
            self._distances[name].add(rows, views, values)

    def scores(self) -> Scores:
        """The scores over all pictures."""
        scores = {name: tally.estimate() for name, tally in (self._tallies | self._distances).items()}
        return {name: scores[name] for name in self._metrics.available}

    def view_scores(self, views: Sequence[int]) -> Scores:
        """The scores over the pictures of some views; distances are not among them."""
        return {name: tally.estimate(views=views) for name, tally in self._tallies.items()}

    def class_scores(self, label: int) -> Scores:
        """The scores over the pictures of one class's objects; distances are not among them."""
        chosen = self._true.labels == label
        return {name: tally.estimate(objects=chosen) for name, tally in self._tallies.items()}

    def object_means(self, metric: str) -> Tensor:
        """The mean of a metric over each object's pictures, float64 [N]."""
        return self._tallies[metric].object_means()


def _look(metrics: MetricSet, pictures: Tensor, labels: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Features [B, M, D] of distances, and judges' agreement [B, M] with the labels, of uint8 [B, M, C, H, W]."""
    shape, flat = pictures.shape[:2], pictures.flatten(0, 1)
    seen = {network: network(flat) for network in metrics.networks}
    features = {name: seen[network].features.unflatten(0, shape) for name, network in metrics.distances.items()}
    agreements = {
        name: judge.agreement(seen[judge].classes.unflatten(0, shape), labels) for name, judge in metrics.judged.items()
    }
    return features, agreements
