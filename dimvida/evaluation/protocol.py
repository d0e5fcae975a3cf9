"""The paper's first table: how good generated views are, by how many views are known.

For k known views every set of k views, or a sample of them, is given in turn and the other V - k are generated.
"""

from __future__ import annotations

import itertools
import math
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dimvida.data.batch import MultiViewBatch
from dimvida.errors import InputError
from dimvida.evaluation.metrics import MetricSet
from dimvida.evaluation.scores import Scorer, TrueViews, study_true_views
from dimvida.results.schema import Scores, ScoresOfClass, ScoresOfKnown, ScoresOfView
from dimvida.sampling.multiview import MultiViewModel
from dimvida.sampling.trajectory import sample_id_tensor

SUBSETS = 100
"""Sets of known views of one size, unless there are fewer."""

SUBSET_LIMIT = 1000
"""Sets of one size that are all given, where no sample of them is asked for."""


@dataclass(frozen=True)
class ModelEvaluation:
    """A model's scores on a set of objects.

    Attributes:
        known: Scores over all generated pictures, for each number of known views.
        per_view: The same for each view by itself, without distances.
        per_class: The same for each class of the data; classes without objects are left out.
        reconstruction: Scores of what the autoencoder makes of every view: no generated view can be expected to be
            closer. Over all sets of one size each view is generated equally often, so this is the ceiling for each of
            them.
        reference: Scores of the true views themselves: the classifier's own accuracy.
        subsets: The sets of known views that were given, by their size.
        object_means: The mean of ``rank_metric`` for each object, float64 [N], by the number of known views; nothing
            without such a metric.
    """

    known: list[ScoresOfKnown]
    per_view: list[ScoresOfView]
    per_class: list[ScoresOfClass]
    reconstruction: Scores
    reference: Scores
    subsets: dict[int, list[tuple[int, ...]]]
    object_means: dict[int, Tensor]


def evaluate_model(
    model: MultiViewModel,
    objects: MultiViewBatch,
    classes: Sequence[str],
    metrics: MetricSet,
    counts: Sequence[int],
    *,
    batch: int,
    most_subsets: int = SUBSETS,
    seed: int = 0,
    progress: Callable[[int], object] = lambda objects: None,
    introduce: Callable[[Scores], object] = lambda reference: None,
    **sampling: Any,
) -> ModelEvaluation:
    """Generate and score all views that k known views leave open, for every k that is asked for.

    Args:
        model: What is evaluated.
        objects: Complete objects.
        classes: Names of their classes.
        metrics: What is measured.
        counts: Numbers of known views.
        batch: Objects at a time.
        most_subsets: Where there are more sets of k views, so many of them are drawn.
        seed: Seed of the noise, the drawn sets and the groups of objects for intervals.
        progress: Called with the number of objects after each batch, see ``progress_total``.
        introduce: Called with the scores of the true views, before anything is generated.
        sampling: ``steps``, ``solver``, ``backend`` and ``dtype`` of ``MultiViewModel.generate``.

    Raises:
        InputError: For a number of known views that does not fit.
    """
    true = study_true_views(metrics, objects.images, objects.labels, batch=batch, seed=seed)
    progress(len(objects))
    introduce(true.reference)
    ranked, labels = rank_metric(metrics), Counter(label for label in objects.labels.tolist() if label >= 0)
    evaluation = ModelEvaluation([], [], [], _score_reconstruction(model, metrics, true, batch), true.reference, {}, {})
    progress(len(objects))
    for count in counts:
        chosen = view_subsets(true.views, count, most_subsets, seed)
        scorer = Scorer(metrics, true)
        for given, rows, completed in complete_subsets(
            model, objects.images, objects.ids, chosen, batch=batch, seed=seed, **sampling
        ):
            missing = (~given).nonzero().flatten()
            scorer.add(rows, missing, completed[:, missing])
            progress(len(completed))
        total = math.comb(true.views, count)
        evaluation.known.append(ScoresOfKnown(count, len(chosen), total, len(objects), scorer.scores()))
        for view, name in enumerate(objects.view_names):
            evaluation.per_view.append(ScoresOfView(count, name, scorer.view_scores(view)))
        for label, number in sorted(labels.items()):
            evaluation.per_class.append(ScoresOfClass(count, classes[label], number, scorer.class_scores(label)))
        evaluation.subsets[count] = chosen
        if ranked:
            evaluation.object_means[count] = scorer.object_means(ranked)
    return evaluation


def progress_total(objects: int, views: int, counts: Sequence[int], most_subsets: int) -> int:
    """Objects that ``evaluate_model`` reports in all: each set of known views, the true views, the reconstruction.

    Raises:
        InputError: For a number of known views that does not fit.
    """
    return objects * (2 + sum(len(view_subsets(views, count, most_subsets, 0)) for count in counts))


def rank_metric(metrics: MetricSet) -> str | None:
    """The metric that objects are ranked by: LPIPS if it is measured, else PSNR, else None."""
    return next((name for name in ("lpips", "psnr") if name in metrics.pictures), None)


def view_subsets(views: int, known: int, most: int | None = None, seed: int = 0) -> list[tuple[int, ...]]:
    """Sets of ``known`` of ``views`` views, in the order of ``itertools.combinations``.

    Args:
        views: V.
        known: Views of a set.
        most: Where there are more sets, so many different ones are drawn at random; None takes all of them.
        seed: Seed of the draw.

    Raises:
        InputError: There is no set with something left to generate, or there are too many and ``most`` is None.
    """
    if not 1 <= known < views:
        raise InputError(f"--known {known}: must be between 1 and {views - 1}, with {views} views")
    total = math.comb(views, known)
    if most is None and total > SUBSET_LIMIT:
        raise InputError(f"--known {known}: {total} subsets of {views} views are too many")
    if most is None or total <= most:
        return list(itertools.combinations(range(views), known))
    places = random.Random(f"subsets {seed} {views} {known}").sample(range(total), most)
    return [_combination(views, known, place) for place in sorted(places)]


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
        model: What generates.
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


def _combination(views: int, known: int, place: int) -> tuple[int, ...]:
    """The combination at a place of ``itertools.combinations(range(views), known)``, without making those before."""
    chosen: list[int] = []
    for view in range(views):
        with_view = math.comb(views - view - 1, known - len(chosen) - 1) if len(chosen) < known else 0
        if place < with_view:
            chosen.append(view)
        else:
            place -= with_view
    return tuple(chosen)


def _score_reconstruction(model: MultiViewModel, metrics: MetricSet, true: TrueViews, batch: int) -> Scores:
    scorer, every = Scorer(metrics, true), torch.arange(true.views)
    for start in range(0, len(true.images), batch):
        rows = slice(start, min(start + batch, len(true.images)))
        decoded = (model.decode(model.encode(true.images[rows])) * 255).round().to(torch.uint8)
        scorer.add(rows, every, decoded)
    return scorer.scores()
