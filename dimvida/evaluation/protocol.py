"""The paper's first table: how good generated views are, by how many views are known."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dimvida.data.batch import MultiViewBatch
from dimvida.evaluation.metrics import MetricSet
from dimvida.evaluation.scores import Scorer, Scores, TrueViews, study_true_views
from dimvida.evaluation.views import complete_subsets, sample_subsets
from dimvida.sampling.multiview import MultiViewModel

SUBSETS = 100
"""Sets of known views of one size, unless there are fewer."""


@dataclass(frozen=True)
class KnownScores:
    """Scores for one number of known views.

    Attributes:
        known: Number of known views.
        subsets: The sets of known views that were given.
        subsets_total: How many sets of that size there are.
        scores: Over all generated pictures.
        per_view: The same for each view by itself, without distances.
        per_class: The same for each class of the data, by its number; classes without objects are left out.
        object_means: ``lpips``, or ``psnr`` without it, of each object, float64 [N]; empty without either.
    """

    known: int
    subsets: list[tuple[int, ...]]
    subsets_total: int
    scores: Scores
    per_view: list[Scores]
    per_class: dict[int, Scores]
    object_means: Tensor


@dataclass(frozen=True)
class Evaluation:
    """A model's scores on a set of objects.

    Attributes:
        known: By number of known views.
        reconstruction: What the autoencoder makes of every view: no generated view can be expected to be closer. Over
            all sets of one size each view is generated equally often, so this is the ceiling for each of them.
        reference: Of the true views themselves: the classifier's own accuracy.
    """

    known: list[KnownScores]
    reconstruction: Scores
    reference: Scores


def rank_metric(metrics: MetricSet) -> str | None:
    """What objects are ranked by: LPIPS if it is measured, else PSNR, else nothing."""
    return next((name for name in ("lpips", "psnr") if name in metrics.pictures), None)


def evaluate_model(
    model: MultiViewModel,
    objects: MultiViewBatch,
    metrics: MetricSet,
    counts: Sequence[int],
    *,
    batch: int,
    most_subsets: int = SUBSETS,
    seed: int = 0,
    progress: Callable[[int], object] = lambda objects: None,
    introduce: Callable[[Scores], object] = lambda reference: None,
    **sampling: Any,
) -> Evaluation:
    """Generate and score all views that k known views leave open, for every k that is asked for.

    Args:
        model: What is evaluated.
        objects: Complete objects.
        metrics: What is measured.
        counts: Numbers of known views.
        batch: Objects at a time.
        most_subsets: Where there are more sets of k views, so many of them are drawn.
        seed: Of the noise, the drawn sets and the groups of objects for intervals.
        progress: Called with the number of objects after each batch, see ``work``.
        introduce: Called with the scores of the true views, before anything is generated.
        sampling: ``steps``, ``solver``, ``backend`` and ``dtype`` of ``MultiViewModel.generate``.

    Raises:
        InputError: For a number of known views that does not fit.
    """
    true = study_true_views(metrics, objects.images, objects.labels, batch=batch, seed=seed)
    progress(len(objects))
    introduce(true.reference)
    known = []
    for count in counts:
        chosen = sample_subsets(true.views, count, most_subsets, seed)
        scorer = Scorer(metrics, true)
        for given, rows, completed in complete_subsets(
            model, objects.images, objects.ids, chosen, batch=batch, seed=seed, **sampling
        ):
            missing = (~given).nonzero().flatten()
            scorer.add(rows, missing, completed[:, missing])
            progress(len(completed))
        known.append(_summarise(count, chosen, scorer, true, rank_metric(metrics)))
    reconstruction = _score_reconstruction(model, metrics, true, batch)
    progress(len(objects))
    return Evaluation(known, reconstruction, true.reference)


def work(objects: int, views: int, counts: Sequence[int], most_subsets: int) -> int:
    """Objects that ``evaluate_model`` reports in all: each set of known views, the true views, the reconstruction.

    Raises:
        InputError: For a number of known views that does not fit.
    """
    return objects * (2 + sum(len(sample_subsets(views, count, most_subsets, 0)) for count in counts))


def _score_reconstruction(model: MultiViewModel, metrics: MetricSet, true: TrueViews, batch: int) -> Scores:
    scorer, every = Scorer(metrics, true), torch.arange(true.views)
    for start in range(0, len(true.images), batch):
        rows = slice(start, min(start + batch, len(true.images)))
        decoded = (model.decode(model.encode(true.images[rows])) * 255).round().to(torch.uint8)
        scorer.add(rows, every, decoded)
    return scorer.scores()


def _summarise(
    count: int, chosen: list[tuple[int, ...]], scorer: Scorer, true: TrueViews, ranked: str | None
) -> KnownScores:
    labels = [label for label in true.labels.unique().tolist() if label >= 0]
    return KnownScores(
        known=count,
        subsets=chosen,
        subsets_total=math.comb(true.views, count),
        scores=scorer.scores(),
        per_view=[scorer.view_scores(view) for view in range(true.views)],
        per_class={label: scorer.class_scores(label) for label in labels},
        object_means=scorer.object_means(ranked) if ranked else torch.empty(0),
    )
