"""Answers, accuracies and McNemar's test, by hand and as published; and that averaging helps where it must."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import nn

from dimvida.classification.design import Inference, Recipe, StudyCell
from dimvida.classification.objects import SingleViews
from dimvida.classification.verdict import (
    accuracy,
    cell_result,
    compare,
    confusion,
    disagreement,
    from_all,
    from_known,
    from_some,
    is_too_weak,
    measure_coherence,
    mid_p,
    only_one,
    pixel_deviation,
    verdict,
)
from dimvida.models.classifiers import predict_logits


def test_the_known_view_alone(single_views):
    objects = single_views(4)  # known from views 0, 1, 2, 3
    logits = torch.zeros(4, 4, 2)
    logits[torch.arange(4), objects.views, torch.tensor([1, 0, 1, 1])] = 1.0
    logits[0, 1:, 0] = 9.0  # what other views say does not count
    assert from_known(logits, objects).tolist() == [1, 0, 1, 1]


def test_all_views_and_all_draws():
    # View 0 is known, the same in both draws; view 1 is generated and says different things.
    first = torch.tensor([[[0.0, 1.0], [5.0, 0.0]]])
    second = torch.tensor([[[0.0, 1.0], [0.0, 5.0]]])
    assert from_all([first], "probabilities").tolist() == [0]
    assert from_all([second], "probabilities").tolist() == [1]
    assert from_all([first, second], "probabilities").tolist() == [1]  # the draws cancel out, the known view decides
    assert from_all([first, second], "logits").tolist() == [1]


def test_some_views_begin_with_the_known_one_and_only_grow(single_views):
    objects = single_views(8)
    logits = torch.randn(8, 4, 3, generator=torch.Generator().manual_seed(1))
    assert torch.equal(from_some(logits, objects, 1, "logits"), from_known(logits, objects))
    assert torch.equal(from_some(logits, objects, 4, "logits"), from_all([logits], "logits"))
    # Marks show which views were used: class v is what view v says.
    marks = torch.eye(4).expand(8, -1, -1) * 10
    two = [set(row.topk(2).indices.tolist()) for row in _mean_of(marks, objects, 2)]
    three = [set(row.topk(3).indices.tolist()) for row in _mean_of(marks, objects, 3)]
    for known, smaller, larger in zip(objects.views.tolist(), two, three, strict=True):
        assert known in smaller and smaller < larger
    assert len({frozenset(views) for views in two}) > 3  # not the same neighbour for all objects


def _mean_of(marks: torch.Tensor, objects: SingleViews, count: int) -> torch.Tensor:
    """How often each class is named by the views in use: found by asking for each class whether it wins ties."""
    rows = []
    for klass in range(marks.shape[2]):
        # A bonus that decides only if the view that names this class is among those used.
        rivals = torch.cat([marks[..., klass : klass + 1], torch.full_like(marks[..., :1], 0.1)], 2)
        rows.append((from_some(rivals, objects, count, "logits") == 0).float())
    return torch.stack(rows, 1)


class FrontKnower(nn.Module):
    """Knows the class from the front view, which is tinted by it, and says little about any other view."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        tint = images.float().mean((2, 3))[:, :2] / 255  # red: class 0, green: class 1
        front = images[:, 2].float().mean((1, 2)) < 1  # other views are grey, with blue
        return torch.where(front[:, None], 20 * tint, 0.1 * tint)


def test_samples_differ_by_their_pixels_and_by_their_classes():
    draws = torch.zeros(2, 300, 3, 2, 2, dtype=torch.uint8)  # more views than are taken at a time
    draws[1, :150] = 51
    # Of two numbers 51 apart the deviation is 51 / sqrt(2); half of the views have none.
    assert pixel_deviation(draws) == pytest.approx(51 / math.sqrt(2) / 255 / 2)
    assert disagreement(torch.tensor([[0, 1, 2, 1], [0, 1, 2, 2], [0, 0, 2, 1]])) == 0.5


def test_a_classifier_that_knows_the_answer_from_one_view_gains_from_averaging():
    count, generator = 400, torch.Generator().manual_seed(0)
    labels = torch.randint(0, 2, (count,), generator=generator)
    views = torch.randint(90, 110, (count, 4, 3, 8, 8), dtype=torch.uint8, generator=generator)  # nearly grey
    views[:, 0] = 0
    views[torch.arange(count), 0, labels] = 200
    known = torch.arange(count) % 4
    ids = tuple(map(str, range(count)))
    images = views[torch.arange(count), known]
    objects = SingleViews(images, known, labels, ids, ("front", "right", "back", "left"))
    logits = predict_logits(FrontKnower(), views.flatten(0, 1)).unflatten(0, (count, 4))

    single = (from_known(logits, objects) == labels).double().mean()
    assert 0.55 < single < 0.7  # every fourth object is known from the front, the others are guesses
    for average in ("probabilities", "logits", "confidence"):
        assert (from_all([logits], average) == labels).all()
    accuracies = [
        float((from_some(logits, objects, n, "probabilities") == labels).double().mean()) for n in (1, 2, 3, 4)
    ]
    assert accuracies == sorted(accuracies) and accuracies[0] < accuracies[1] < accuracies[2] < accuracies[3] == 1
    assert not is_too_weak(measure_coherence(logits, labels, objects))


def test_views_of_the_wrong_class_are_seen_to_harm(single_views):
    objects = single_views(40)
    logits = torch.zeros(40, 4, 2)
    logits[torch.arange(40), :, 1 - objects.labels] = 3.0  # generated views look like the other class
    logits[torch.arange(40), objects.views] = 0.0
    logits[torch.arange(40), objects.views, objects.labels] = 3.0
    coherence = measure_coherence(logits, objects.labels, objects)
    assert (coherence.mean, coherence.real, coherence.averaged) == (0.0, 1.0, 0.0)
    assert is_too_weak(coherence) and verdict(coherence).startswith("The generator is too weak for averaging to help")


def test_coherence_by_hand(single_views):
    objects = single_views(2)  # labels 0, 1; known from views 0 and 1
    logits = torch.zeros(2, 4, 2)
    logits[0, :, 0] = torch.tensor([1.0, 1.0, -1.0, -1.0])  # of its three generated views, one is right
    logits[1, :, 1] = torch.tensor([1.0, -1.0, 1.0, 1.0])  # all three right, the known one wrong
    coherence = measure_coherence(logits, objects.labels, objects)
    assert coherence.count == 6
    assert coherence.mean == (1 / 3 + 1) / 2
    # Two objects, 1/3 and 1: standard deviation sqrt(2)/3, standard error 1/3.
    assert abs(coherence.standard_error - 1 / 3) < 1e-12
    assert (coherence.real, coherence.averaged) == (0.5, 1.0)
    assert not is_too_weak(coherence)


LABELS = torch.tensor([0, 0, 1, 1, 2])
E = Inference("e", "single", 1, 1, 10)
EA = Inference("ea", "probabilities", 4, 1, 10)


def cell(asked: Inference = E, group: str = "", recipe: Recipe | None = None) -> StudyCell:
    return StudyCell(group, recipe or Recipe("resnet18"), asked)


def test_accuracy_and_confusion_over_seeds():
    predictions = torch.tensor([[0, 0, 1, 1, 1], [0, 1, 1, 0, 2]])
    result = cell_result(cell(), 7, predictions, LABELS, 3)
    assert result.accuracy.values == [0.8, 0.6]
    assert result.accuracy.mean == pytest.approx(0.7)
    assert result.accuracy.deviation == pytest.approx(math.sqrt(2 * 0.1**2))
    assert result.confusion == [[3, 1, 0], [1, 3, 0], [0, 1, 1]]
    assert (result.model, result.train, result.test, result.train_steps) == ("omega_s", "c", "e", 7)
    assert accuracy([0.5]).deviation is None
    assert sum(map(sum, confusion(torch.tensor([[2, 2, 2, 2, 2]]), LABELS, 3))) == 5


def test_an_object_counts_once_in_comparisons():
    first, second = cell(), cell(EA)
    predictions = {
        first: torch.tensor([[0, 0, 1, 1, 2], [0, 0, 1, 0, 0], [0, 1, 1, 0, 0]]),  # by majority right: 0, 1, 2
        second: torch.tensor([[1, 1, 1, 1, 2]] * 3),  # right: 2, 3, 4
    }
    (result,) = compare(predictions, LABELS)
    assert (result.a, result.b) == (first.id, second.id)
    assert (result.only_a, result.only_b, result.p) == (2, 2, mid_p(2, 2))


def test_pairs_are_of_one_classifier_and_beyond_the_tables_with_the_first():
    recipes = [Recipe("resnet18"), Recipe("resnet18", augmented=True)]
    other = Recipe("mobilenet-v3-small")
    paper = [cell(asked, "", recipe) for recipe in recipes for asked in (E, EA)]
    beyond = [cell(asked, "augmentation", recipe) for recipe in recipes for asked in (E, EA)]
    pairs = compare(dict.fromkeys([*paper, cell(E, "", other), *beyond], LABELS[None]), LABELS)
    assert len(pairs) == 6 + 0 + 3
    assert {pair.a for pair in pairs if "augmentation" in pair.a} == {beyond[0].id}


def test_a_published_value():
    # Airway hyper-responsiveness before and after transplantation, Fagerland et al. 2013: mid-p 0.0391.
    assert mid_p(1, 7) == pytest.approx(0.0391, abs=5e-5)


@pytest.mark.parametrize(("only_a", "only_b"), [(0, 1), (0, 5), (2, 3), (1, 7), (4, 4), (6, 3)])
def test_enumerated(only_a: int, only_b: int):
    """Every outcome as far from the middle counts, those exactly as far by half."""
    count = only_a + only_b
    seen = abs(only_a - only_b)
    distances = [abs(2 * sum(coins) - count) for coins in itertools.product((0, 1), repeat=count)]
    expected = sum(1.0 if d > seen else 0.5 if d == seen else 0.0 for d in distances) / 2**count
    if only_a == only_b:
        expected = 1.0  # nothing can be nearer to the middle
    assert mid_p(only_a, only_b) == pytest.approx(expected, abs=1e-15)


def test_no_difference_and_symmetry():
    assert mid_p(0, 0) == 1.0
    assert mid_p(5, 5) == 1.0
    assert mid_p(3, 9) == mid_p(9, 3)


def test_thousands_of_objects_are_no_problem():
    assert 0 < mid_p(2000, 3000) < 1e-40
    assert mid_p(2500, 2500) == 1.0


def test_it_counts_objects_that_one_alone_has_right():
    a = torch.tensor([True, True, False, False, True])
    b = torch.tensor([True, False, True, False, False])
    assert only_one(a, b) == (2, 1)
