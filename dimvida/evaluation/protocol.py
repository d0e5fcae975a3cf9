"""The paper's first table: how good generated views are, by how many views are known.

For k known views every set of k views, or a sample of them, is given in turn and the other V - k are generated.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dimvida.data.batch import MultiViewBatch
from dimvida.errors import InputError
from dimvida.evaluation.metrics import MetricSet
from dimvida.evaluation.scores import Scorer, TrueViews, study_true_views
from dimvida.results.schema import Comparands, Scores, ScoresOfClass, ScoresOfKnown, ScoresOfView
from dimvida.sampling.multiview import MultiViewModel
from dimvida.sampling.trajectory import sample_id_tensor

SUBSETS = 100
"""Sets of known views of one size, unless there are fewer."""

SUBSET_LIMIT = 1000
"""Sets of one size that are all given, where no sample of them is asked for."""


@dataclass(frozen=True)
class KnownCountScores:
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
class ModelEvaluation:
    """A model's scores on a set of objects.

    Attributes:
        known: By number of known views.
        reconstruction: What the autoencoder makes of every view: no generated view can be expected to be closer. Over
            all sets of one size each view is generated equally often, so this is the ceiling for each of them.
        reference: Of the true views themselves: the classifier's own accuracy.
    """

    known: list[KnownCountScores]
    reconstruction: Scores
    reference: Scores

    def to_result(self, view_names: Sequence[str], classes: Sequence[str], labels: Tensor) -> dict[str, Any]:
        """The scores as fields of ``dimvida.results.schema.EvaluationResult``.

        Args:
            view_names: Names of the V views.
            classes: Names of the data's classes.
            labels: int64 [N], the objects' classes; -1 for none.
        """
        return {
            "known": [
                ScoresOfKnown(entry.known, len(entry.subsets), entry.subsets_total, len(labels), entry.scores)
                for entry in self.known
            ],
            "reconstruction": Comparands(self.reconstruction),
            "reference": Comparands(self.reference),
            "per_view": [
                ScoresOfView(entry.known, name, scores)
                for entry in self.known
                for name, scores in zip(view_names, entry.per_view, strict=True)
            ],
            "per_class": [
                ScoresOfClass(entry.known, classes[label], int((labels == label).sum()), scores)
                for entry in self.known
                for label, scores in entry.per_class.items()
            ],
        }


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
) -> ModelEvaluation:
    """Generate and score all views that k known views leave open, for every k that is asked for.

    Args:
        model: What is evaluated.
        objects: Complete objects.
        metrics: What is measured.
        counts: Numbers of known views.
        batch: Objects at a time.
        most_subsets: Where there are more sets of k views, so many of them are drawn.
        seed: Of the noise, the drawn sets and the groups of objects for intervals.
        progress: Called with the number of objects after each batch, see ``progress_total``.
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
        chosen = view_subsets(true.views, count, most_subsets, seed)
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
    return ModelEvaluation(known, reconstruction, true.reference)


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
        seed: Of the draw.

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


def _summarise(
    count: int, chosen: list[tuple[int, ...]], scorer: Scorer, true: TrueViews, ranked: str | None
) -> KnownCountScores:
    labels = [label for label in true.labels.unique().tolist() if label >= 0]
    return KnownCountScores(
        known=count,
        subsets=chosen,
        subsets_total=math.comb(true.views, count),
        scores=scorer.scores(),
        per_view=[scorer.view_scores(view) for view in range(true.views)],
        per_class={label: scorer.class_scores(label) for label in labels},
        object_means=scorer.object_means(ranked) if ranked else torch.empty(0),
    )
