"""From what classifiers say of every view to answers, accuracies, McNemar's test, and a verdict on the generator.

Coherence is the share of generated views that a classifier of real views gives the class of their object. It is
measured on c, which the classifier never saw, so that e stays untouched, before anything else is trained or tested. The
verdict is taken on c too: the generator is too weak for averaging over views to help if that classifier, averaged over
the known and the generated views, is worse than on the known view alone by more than chance (McNemar's mid-p below
0.05).
"""

from __future__ import annotations

import hashlib
import math
import statistics
from collections.abc import Mapping, Sequence
from fractions import Fraction

import torch
from torch import Tensor

from dimvida.classification.design import Inference, StudyCell
from dimvida.classification.objects import SingleViews
from dimvida.results.metrics import ACCURACY, p_statement
from dimvida.results.schema import Accuracy, AccuracyCell, CoherenceResult, Comparison
from dimvida.sampling.classifier import average_views

SIGNIFICANT = 0.05


def from_known(logits: Tensor, objects: SingleViews) -> Tensor:
    """The answer from the known view alone: labels int64 [N] of logits [N, V, K]."""
    return logits[torch.arange(len(objects)), objects.views].argmax(1)


def from_all(draws: Sequence[Tensor], average: str) -> Tensor:
    """The answer from all views, and from several samples of the generated ones.

    Every view counts once, however many samples it has: the mean over draws of the mean over views.

    Args:
        draws: Logits [N, V, K] of each draw.
        average: How the outputs of views become one: ``probabilities``, ``logits`` or ``confidence``, see
            ``average_views``.

    Returns:
        Labels, int64 [N].
    """
    output = "logits" if average == "logits" else "probabilities"  # what the mean over draws is of too
    return torch.stack([average_views(logits, average, output) for logits in draws]).mean(0).argmax(1)


def from_some(logits: Tensor, objects: SingleViews, count: int, average: str) -> Tensor:
    """The answer from the known view and ``count - 1`` generated ones; labels int64 [N].

    Which ones is drawn for each object by its id, and more of them only adds to the fewer.
    """
    order = torch.stack(
        [
            _order(identity, int(view), logits.shape[1])
            for identity, view in zip(objects.ids, objects.views, strict=True)
        ]
    )
    chosen = order[:, :count, None].expand(-1, -1, logits.shape[2])
    return average_views(logits.gather(1, chosen), average, "probabilities").argmax(1)


def answers(draws: Sequence[Tensor], objects: SingleViews, asked: Inference) -> Tensor:
    """What a classifier answers, asked in one way: labels int64 [N] of its logits [N, V, K] for each draw."""
    if asked.part == "e":
        return from_known(draws[0], objects)
    if asked.views < len(objects.view_names):
        return from_some(draws[0], objects, asked.views, asked.average)
    return from_all(draws, asked.average)


def pixel_deviation(draws: Tensor) -> float:
    """Standard deviation of pixels over draws in 0..1, mean over pixels, of generated views uint8 [D, N, C, H, W]."""
    parts = [part.float().std(0).double().mean((1, 2, 3)) for part in draws.split(256, dim=1)]
    return float(torch.cat(parts).mean()) / 255


def disagreement(labels: Tensor) -> float:
    """The share of views whose draws are not all put into one class, of labels int64 [D, N]."""
    return float((labels != labels[0]).any(0).double().mean())


def cell_result(cell: StudyCell, train_steps: int, predictions: Tensor, labels: Tensor, classes: int) -> AccuracyCell:
    """A cell and how its classifiers did, for ``classification.json``.

    Args:
        cell: How its classifiers are trained and asked.
        train_steps: Optimiser steps that its classifiers took.
        predictions: Predicted labels, int64 [S, N], of S seeds.
        labels: True labels, int64 [N].
        classes: Number K of classes.
    """
    recipe, inference = cell.recipe, cell.inference
    return AccuracyCell(
        id=cell.id,
        table=cell.table,
        group=cell.group,
        classifier=recipe.classifier,
        weights=recipe.table,
        train=recipe.train,
        train_samples_per_view=recipe.draws,
        model=recipe.model,
        budget=recipe.budget,
        train_steps=train_steps,
        test=inference.part,
        average=inference.average,
        views=inference.views,
        samples_per_view=inference.samples_per_view,
        sampler_steps=inference.sampler_steps,
        accuracy=accuracy((predictions == labels).double().mean(1).tolist()),
        confusion=confusion(predictions, labels, classes),
    )


def accuracy(values: Sequence[float]) -> Accuracy:
    """Mean and sample standard deviation over seeds; no deviation for one seed."""
    deviation = statistics.stdev(values) if len(values) > 1 else None
    return Accuracy(list(values), statistics.fmean(values), deviation)


def confusion(predictions: Tensor, labels: Tensor, classes: int) -> list[list[int]]:
    """How often each true class (row) was taken for each class (column), summed over seeds."""
    pairs = labels.expand_as(predictions) * classes + predictions
    return torch.bincount(pairs.flatten(), minlength=classes**2).view(classes, classes).tolist()


def compare(predictions: Mapping[StudyCell, Tensor], labels: Tensor) -> list[Comparison]:
    """McNemar's test between cells of one classifier: every pair in the paper's tables, beyond them with the first.

    An object counts once, however many seeds there are: as right where more than half of them have it right.

    Args:
        predictions: Predicted labels of each cell, int64 [S, N].
        labels: True labels, int64 [N].
    """
    groups: dict[tuple[str, ...], list[StudyCell]] = {}
    for cell in predictions:
        groups.setdefault((cell.table, cell.group, cell.recipe.classifier, cell.recipe.table), []).append(cell)
    results = []
    for members in groups.values():
        right = [(predictions[cell] == labels).double().mean(0) > 0.5 for cell in members]
        for first in range(1 if members[0].group else len(members)):
            for second in range(first + 1, len(members)):
                only_a, only_b = only_one(right[first], right[second])
                names = members[first].id, members[second].id
                p = mid_p(only_a, only_b)
                results.append(Comparison(*names, only_a=only_a, only_b=only_b, p=p))
    return results


def only_one(right_a: Tensor, right_b: Tensor) -> tuple[int, int]:
    """How many objects each of two classifiers alone has right, of those that it has right, bool [N] each."""
    return int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())


def mid_p(only_a: int, only_b: int) -> float:
    """McNemar's test: the two-sided mid-p value of the hypothesis that two classifiers are right equally often.

    The mid-p form is half as conservative as the exact test, and still about right for few objects.

    Under the hypothesis only_a is binomial (n = only_a + only_b, 1/2). The exact two-sided p-value less half the
    probability of what was seen, on either side (Fagerland, Lydersen and Laake, BMC Med. Res. Methodol. 13:91, 2013).

    Args:
        only_a: Objects that the first alone has right.
        only_b: Objects that the second alone has right.
    """
    count, least = only_a + only_b, min(only_a, only_b)
    below = sum(math.comb(count, number) for number in range(least))
    twice = 2 * below + math.comb(count, least)  # 2 P(X < least) + P(X = least), times 2^count
    return float(Fraction(twice, 2**count))


def measure_coherence(logits: Tensor, labels: Tensor, objects: SingleViews) -> CoherenceResult:
    """Coherence of completed objects.

    Args:
        logits: What a classifier of real views says of every view, float [N, V, K].
        labels: True labels as that classifier counts them, int64 [N].
        objects: Which view of each object is real.
    """
    right = logits.argmax(2) == labels[:, None]  # [N, V]
    generated = ~objects.known()
    shares = (right & generated).double().sum(1) / generated.sum(1)  # of each object
    error = float(shares.std() / math.sqrt(len(shares))) if len(shares) > 1 else math.nan
    real = from_known(logits, objects) == labels
    averaged = from_all([logits], "probabilities") == labels
    return CoherenceResult(
        float(shares.mean()),
        error,
        int(generated.sum()),
        float(real.double().mean()),
        float(averaged.double().mean()),
        mid_p(*only_one(real, averaged)),
    )


def is_too_weak(coherence: CoherenceResult | None) -> bool:
    """Whether averaging over generated views does harm to a classifier of real ones, and by more than chance."""
    return coherence is not None and coherence.averaged < coherence.real and coherence.p < SIGNIFICANT


def verdict(coherence: CoherenceResult | None) -> str:
    """What coherence, if it was measured, says of the generator, in one sentence."""
    if coherence is None:
        return "Coherence was not measured: the data have no objects for it."
    if is_too_weak(coherence):
        start = "The generator is too weak for averaging to help a classifier that never saw a generated view"
    elif coherence.averaged > coherence.real and coherence.p < SIGNIFICANT:
        start = "Averaging helps even a classifier that never saw a generated view"
    else:
        start = "Averaging neither helps nor harms a classifier that never saw a generated view"
    generated, real, averaged = map(ACCURACY.quantity, (coherence.mean, coherence.real, coherence.averaged))
    return (
        f"{start}: a classifier of real views names the class of {generated} of the generated views and of {real} of "
        f"the real ones; averaged over both it is right for {averaged} of the objects ({p_statement(coherence.p)})."
    )


def _order(identity: str, known: int, views: int) -> Tensor:
    """The known view, then the others in an order of the object's own."""

    def draw(view: int) -> bytes:
        return hashlib.blake2b(f"{identity}\0order\0{view}".encode(), digest_size=8).digest()

    others = sorted((view for view in range(views) if view != known), key=draw)
    return torch.tensor([known, *others])
