"""Cells, their figures and their comparison, by hand; and which cells a study has."""

from __future__ import annotations

import math
from collections import Counter

import pytest
import torch

from dimvida.classification.arms import Arm
from dimvida.classification.cells import Cell, Test, accuracy, compare, confusion
from dimvida.classification.design import GROUPS, Questions, asked_cells
from dimvida.classification.mcnemar import mid_p
from dimvida.errors import InputError

LABELS = torch.tensor([0, 0, 1, 1, 2])
E = Test("e", "single", 1, 1, 10)
EA = Test("ea", "probabilities", 4, 1, 10)


def cell(predictions: list[list[int]], test: Test = E, group: str = "", arm: Arm | None = None) -> Cell:
    return Cell(group, arm or Arm("resnet18"), 7, test, torch.tensor(predictions))


def test_accuracy_and_confusion_over_seeds():
    result = cell([[0, 0, 1, 1, 1], [0, 1, 1, 0, 2]]).to_dict(LABELS, 3)
    assert result["accuracy"]["values"] == [0.8, 0.6]
    assert result["accuracy"]["mean"] == pytest.approx(0.7)
    assert result["accuracy"]["deviation"] == pytest.approx(math.sqrt(2 * 0.1**2))
    assert result["confusion"] == [[3, 1, 0], [1, 3, 0], [0, 1, 1]]
    assert (result["model"], result["train"], result["test"], result["train_steps"]) == ("omega_s", "c", "e", 7)
    assert accuracy([0.5])["deviation"] is None
    assert sum(map(sum, confusion(torch.tensor([[2, 2, 2, 2, 2]]), LABELS, 3))) == 5


def test_an_object_counts_once_in_comparisons():
    first = cell([[0, 0, 1, 1, 2], [0, 0, 1, 0, 0], [0, 1, 1, 0, 0]])  # by majority right: 0, 1, 2
    second = cell([[1, 1, 1, 1, 2]] * 3, EA)  # right: 2, 3, 4
    (result,) = compare([first, second], LABELS)
    assert (result["a"], result["b"]) == (first.id, second.id)
    assert (result["only_a"], result["only_b"], result["p"]) == (2, 2, mid_p(2, 2))


def test_pairs_are_of_one_classifier_and_beyond_the_tables_with_the_first():
    arms = [Arm("resnet18"), Arm("resnet18", augmented=True)]
    other = Arm("mobilenet-v3-small")
    right = [LABELS.tolist()]
    paper = [cell(right, test, "", arm) for arm in arms for test in (E, EA)]
    beyond = [cell(right, test, "augmentation", arm) for arm in arms for test in (E, EA)]
    pairs = compare([*paper, cell(right, E, "", other), *beyond], LABELS)
    assert len(pairs) == 6 + 0 + 3
    assert {pair["a"] for pair in pairs if "augmentation" in pair["a"]} == {beyond[0].id}


def questions(**changes: object) -> Questions:
    values = {"classifiers": ("resnet18", "mobilenet-v3-large"), "weights": {}, "seeds": (0, 1, 2), **changes}
    return Questions(**values)


def asked(**changes: object) -> list[str]:
    predictions = torch.zeros(1, 5, dtype=torch.int64)
    cells = asked_cells(questions(**changes), 4, 10)
    return [Cell(a.group, a.arm, 7, a.test, predictions).id for a in cells]


def test_the_papers_tables():
    ids = asked()
    assert len(ids) == 8
    assert ids[:4] == [
        "scratch/resnet18/c/steps/e/single/1x1/10",
        "scratch/resnet18/c/steps/ea/probabilities/4x1/10",
        "scratch/resnet18/ca/steps/e/single/1x1/10",
        "scratch/resnet18/ca/steps/ea/probabilities/4x1/10",
    ]
    with_weights = asked(weights={"resnet18": "imagenet"}, budgets=("steps", "epochs"))
    assert Counter(identity.split("/")[0] for identity in with_weights) == {"scratch": 12, "finetuned": 6}


def test_every_group_and_no_cell_twice():
    ids = asked(beyond=GROUPS, budgets=("steps", "epochs"), sampler_steps=(5, 10, 20), samples_per_view=5)
    assert len(set(ids)) == len(ids)
    counts = Counter(tuple(identity.split("/")[:3]) for identity in ids)
    # averages 3 x 2; samples 1, 2, 4, 5 x 2 and three of the classifier trained on all; four arms x 2; views 4 x 2;
    # steps 10, 5, 20 x 2
    expected = {"averaging": 6, "samples": 11, "augmentation": 8, "views": 8, "steps": 6}
    for group, count in expected.items():
        assert counts["beyond", group, "resnet18"] == count, group


def test_steps_around_the_samplers_are_the_default():
    assert questions(beyond=("steps",)).with_sampler_steps(10).sampler_steps == (2, 5, 20)
    assert questions(beyond=("steps",), sampler_steps=(3,)).with_sampler_steps(10).sampler_steps == (3,)
    assert questions().with_sampler_steps(10).sampler_steps == ()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classifiers": ("vgg",)}, "classifier 'vgg': choose from resnet18"),
        ({"weights": {"vgg": "imagenet"}}, "weights of 'vgg': choose from resnet18, mobilenet-v3-large"),
        ({"classifiers": ("resnet18", "resnet18")}, "a name is there twice"),
        ({"classifiers": ()}, "at least one classifier"),
        ({"budgets": ("time",)}, "budget 'time': choose from steps, epochs"),
        ({"beyond": ("colour",)}, "--beyond 'colour': choose from averaging"),
        ({"average": "votes"}, "choose from probabilities"),
        ({"samples_per_view": 0}, "must be at least 1"),
        ({"sampler_steps": (0,)}, "must be at least 1"),
    ],
)
def test_nonsense_is_refused(changes: dict, message: str):
    with pytest.raises(InputError, match=message):
        questions(**changes)
