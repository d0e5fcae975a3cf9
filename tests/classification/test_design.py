"""Which cells a study has; what each recipe is trained on, and for how long."""

from __future__ import annotations

from collections import Counter

import pytest

from dimvida.classification.design import QUESTION_NAMES, Recipe, StudyDesign, study_cells
from dimvida.errors import InputError
from dimvida.results.classification import QUESTIONS
from dimvida.training.stage_config import ClassifierStageConfig


def design(**changes: object) -> StudyDesign:
    values = {"classifiers": ("resnet18", "mobilenet-v3-large"), "weights": {}, "seeds": (0, 1, 2), **changes}
    return StudyDesign(**values)


def asked(**changes: object) -> list[str]:
    return [cell.id for cell in study_cells(design(**changes), 4, 10)]


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
    ids = asked(beyond=QUESTION_NAMES, budgets=("steps", "epochs"), sampler_steps=(5, 10, 20), samples_per_view=5)
    assert tuple(QUESTIONS) == QUESTION_NAMES and len(set(ids)) == len(ids)
    counts = Counter(tuple(identity.split("/")[:3]) for identity in ids)
    # averages 3 x 2; samples 1, 2, 4, 5 x 2 and three of the classifier trained on all; four arms x 2; views 4 x 2;
    # steps 10, 5, 20 x 2
    expected = {"averaging": 6, "samples": 11, "augmentation": 8, "views": 8, "steps": 6}
    for group, count in expected.items():
        assert counts["beyond", group, "resnet18"] == count, group


def test_steps_around_the_samplers_are_the_default():
    assert design(beyond=("steps",)).with_sampler_steps(10).sampler_steps == (2, 5, 20)
    assert design(beyond=("steps",), sampler_steps=(3,)).with_sampler_steps(10).sampler_steps == (3,)
    assert design().with_sampler_steps(10).sampler_steps == ()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classifiers": ("vgg",)}, "classifier 'vgg': choose from resnet18"),
        ({"weights": {"vgg": "imagenet"}}, "weights of 'vgg': choose from resnet18, mobilenet-v3-large"),
        ({"classifiers": ("resnet18", "resnet18")}, "a name is there twice"),
        ({"classifiers": ()}, "at least one classifier"),
        ({"budgets": ("time",)}, "budget 'time': choose from steps, epochs"),
        ({"beyond": ("colour",)}, "--beyond colour: choose from averaging"),
        ({"average": "votes"}, "choose from probabilities"),
        ({"samples_per_view": 0}, "must be at least 1"),
        ({"sampler_steps": (0,)}, "must be at least 1"),
    ],
)
def test_nonsense_is_refused(changes: dict, message: str):
    with pytest.raises(InputError, match=message):
        design(**changes)


def test_the_budget_is_equal_steps_or_equal_epochs():
    config = ClassifierStageConfig(epochs=5, batch=10)
    small, steps = Recipe("resnet18"), Recipe("resnet18", augmented=True)
    epochs = Recipe("resnet18", augmented=True, budget="epochs")
    assert small.stage(config, 95, 4).steps == 50  # ten batches an epoch
    assert steps.stage(config, 95, 4).steps == 50
    assert epochs.stage(config, 95, 4).steps == 200
    fixed = ClassifierStageConfig(steps=30)
    assert [recipe.stage(fixed, 95, 4).steps for recipe in (small, steps, epochs)] == [30, 30, 120]


def test_names_and_augmentation():
    recipes = [Recipe("resnet18", augmented=a, transformed=t) for a in (False, True) for t in (False, True)]
    assert [recipe.train for recipe in recipes] == ["c", "c+taw", "ca", "ca+taw"]
    assert [recipe.model for recipe in recipes] == ["omega_s", "omega_s", "omega_m", "omega_m"]
    stages = [recipe.stage(ClassifierStageConfig(), 10, 4) for recipe in recipes[:2]]
    assert [stage.augment for stage in stages] == ["none", "trivial-augment-wide"]
    assert (recipes[0].table, Recipe("resnet18", "imagenet").table) == ("scratch", "finetuned")
