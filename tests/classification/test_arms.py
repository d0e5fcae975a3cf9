"""What each arm is trained on, and for how long."""

from __future__ import annotations

import torch

from dimvida.classification.arms import Arm, training_set
from dimvida.training.stage_config import ClassifierStageConfig

CLASSES = ("dark", "light")


def test_c_is_the_real_views(single_views):
    c = single_views(6)
    data = training_set(Arm("resnet18"), c, [], CLASSES)
    assert torch.equal(data.images, c.images) and torch.equal(data.labels, c.labels)
    assert len(data.held_out) == 0


def test_ca_adds_the_generated_views_of_every_draw_with_their_labels(single_views):
    c = single_views(6)
    draws = []
    for number in range(2):
        views = torch.full((6, 4, 3, 16, 16), 0, dtype=torch.uint8)
        views += (torch.arange(6) * 10 + number).to(torch.uint8).view(6, 1, 1, 1, 1)  # who and which draw
        views[c.known()] = c.images
        draws.append(views)
    arm = Arm("resnet18", augmented=True, draws=2)
    data = training_set(arm, c, draws, CLASSES)
    assert len(data.images) == 6 * arm.pictures(4) == 6 * (1 + 3 * 2)
    assert torch.equal(data.images[:6], c.images)
    marks = data.images[6:, 0, 0, 0]
    assert torch.equal(data.labels[6:], c.labels[torch.div(marks, 10, rounding_mode="floor").long()])
    assert (marks.bincount()[marks.unique().long()] == 3).all() and marks.unique().numel() == 12


def test_the_budget_is_equal_steps_or_equal_epochs():
    config = ClassifierStageConfig(epochs=5, batch=10)
    small, steps = Arm("resnet18"), Arm("resnet18", augmented=True)
    epochs = Arm("resnet18", augmented=True, budget="epochs")
    assert small.stage(config, 95, 4).steps == 50  # ten batches an epoch
    assert steps.stage(config, 95, 4).steps == 50
    assert epochs.stage(config, 95, 4).steps == 200
    fixed = ClassifierStageConfig(steps=30)
    assert [arm.stage(fixed, 95, 4).steps for arm in (small, steps, epochs)] == [30, 30, 120]


def test_names_and_augmentation():
    arms = [Arm("resnet18", augmented=a, transformed=t) for a in (False, True) for t in (False, True)]
    assert [arm.train for arm in arms] == ["c", "c+taw", "ca", "ca+taw"]
    assert [arm.model for arm in arms] == ["omega_s", "omega_s", "omega_m", "omega_m"]
    assert [arm.stage(ClassifierStageConfig(), 10, 4).augment for arm in arms[:2]] == ["none", "trivial-augment-wide"]
    assert (arms[0].table, Arm("resnet18", "imagenet").table) == ("scratch", "finetuned")
