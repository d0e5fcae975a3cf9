"""Training a classifier: its data, its loss, exact resume, and its folder."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from helpers.networks import StopAfter, no_progress
from torch.nn.functional import cross_entropy

from dimvida.data.batch import MultiViewBatch
from dimvida.errors import InputError
from dimvida.models.classifiers import build_classifier
from dimvida.training.classifier import ClassifierObjective, ClassifierPlan, ClassifierRun
from dimvida.training.control import Interrupt, Interrupted
from dimvida.training.data import LabelledImages, all_views
from dimvida.training.ranks import Share
from dimvida.training.stage_config import ClassifierStageConfig

CPU = torch.device("cpu")
SMALL = "mobilenet-v3-small"
FAST = ClassifierStageConfig(steps=6, batch=4, lr=1e-3, log_every=2, save_every=2)


def objects(count: int = 10, views: int = 2, size: int = 16) -> MultiViewBatch:
    """Dark and light objects by turns, the last view of the first one absent."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(count) % 2
    noise = torch.randint(0, 60, (count, views, 3, size, size), generator=generator)
    known = torch.ones(count, views, dtype=torch.bool)
    known[0, -1] = False
    return MultiViewBatch(
        images=((noise + 190 * labels.view(-1, 1, 1, 1, 1)) * known[..., None, None, None]).to(torch.uint8),
        known=known,
        labels=labels,
        ids=tuple(f"object {number}" for number in range(count)),
        view_names=("front", "back")[:views],
    )


def loss(objective: ClassifierObjective, indices: torch.Tensor, seed: int, step: int) -> torch.Tensor:
    rows = slice(0, len(indices))
    return objective.loss(Share(rows), **objective.draw(indices, seed, step, rows))


@pytest.fixture
def data() -> LabelledImages:
    return all_views(objects(), ("dark", "light"), 0.2, 0, {"name": "grey"})


def test_every_view_that_is_there_is_trained_on_and_no_object_on_both_sides():
    batch = objects()
    data = all_views(batch, ("dark", "light"), 0.2, 0, {})
    assert len(data.images) + len(data.held_out) == int(batch.known.sum()) == 19
    assert data.description == {"objects": 8, "validation_objects": 2}

    def owners(images: torch.Tensor) -> set[int]:
        pixels = batch.images.flatten(2)
        return {int((pixels == image.flatten()).all(2).any(1).nonzero()[0]) for image in images}

    assert owners(data.images) | owners(data.held_out) == set(range(10))
    assert not owners(data.images) & owners(data.held_out)
    assert all(
        (image.float().mean() > 100) == bool(label) for image, label in zip(data.images, data.labels, strict=True)
    )


def test_data_without_classes_is_refused():
    batch = objects()
    with pytest.raises(InputError, match="at least 2 classes"):
        all_views(batch, ("dark",), 0.2, 0, {})
    batch.labels[3] = -1
    with pytest.raises(InputError, match="the class of every object"):
        all_views(batch, ("dark", "light"), 0.2, 0, {})


def test_the_loss_is_the_cross_entropy_and_depends_on_seed_and_step_alone(data: LabelledImages):
    network = build_classifier("resnet18", data.classes)  # has no dropout
    objective = ClassifierObjective(network, data, FAST, CPU)
    indices = torch.tensor([0, 3, 5])
    expected = cross_entropy(network(data.images[indices]), data.labels[indices])
    torch.testing.assert_close(loss(objective, indices, 1, 2), expected)

    config = ClassifierStageConfig(augment="trivial-augment-wide")
    objective = ClassifierObjective(build_classifier(SMALL, data.classes), data, config, CPU)
    first = loss(objective, indices, 1, 2)
    torch.rand(5)
    assert torch.equal(loss(objective, indices, 1, 2), first)
    assert not torch.equal(loss(objective, indices, 1, 3), first)
    assert not torch.equal(loss(objective, indices, 2, 2), first)


def test_a_last_batch_of_one_picture_can_be_trained_on(data: LabelledImages):
    objective = ClassifierObjective(build_classifier("resnet18", data.classes), data, FAST, CPU)
    assert loss(objective, torch.tensor([len(data.images) - 1]), 0, 0).isfinite()


def test_validation_counts_what_is_right(data: LabelledImages):
    network = build_classifier(SMALL, data.classes).eval()
    objective = ClassifierObjective(network, data, FAST, CPU)
    logits = network(data.held_out).detach()
    figures = objective.validate(network)
    assert figures["accuracy"] == pytest.approx(float((logits.argmax(1) == data.held_out_labels).float().mean()))
    assert figures["loss"] == pytest.approx(float(cross_entropy(logits, data.held_out_labels)), rel=1e-5)
    nothing = LabelledImages(data.images, data.labels, data.classes, data.held_out[:0], data.held_out_labels[:0])
    assert ClassifierObjective(network, nothing, FAST, CPU).validate(network) == {}


def run_in(folder: Path, data: LabelledImages, plan: ClassifierPlan, interrupt: object = None) -> ClassifierRun:
    return ClassifierRun(folder, plan, plan.digest(data.digest()), CPU, interrupt or Interrupt())


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_it_learns_and_ends_with_a_classifier_alone(tmp_path: Path, data: LabelledImages):
    config = ClassifierStageConfig(steps=30, batch=8, lr=1e-3, log_every=10)
    run = run_in(tmp_path / "c", data, ClassifierPlan("resnet18", config, 0))
    assert not run.finished()
    run.train(data, no_progress)
    assert run.finished()
    assert sorted(files(run.folder)) == ["classifier.csv", "classifier.json", "classifier.safetensors", "training.json"]
    classifier = run.load()
    assert torch.equal(classifier(data.held_out).argmax(1), data.held_out_labels)
    assert (classifier.config.image_size, classifier.config.channels) == (data.images.shape[-1], 3)
    provenance = json.loads((run.folder / "classifier.json").read_text())["provenance"]
    assert provenance["validation"]["accuracy"] == 1.0 and provenance["steps"] == 30


@pytest.mark.parametrize("stop", [1, 2, 3, 5])
def test_it_resumes_to_the_same_bytes(tmp_path: Path, data: LabelledImages, stop: int):
    plan = ClassifierPlan(SMALL, FAST, 3)
    run_in(tmp_path / "whole", data, plan).train(data, no_progress)
    with pytest.raises(Interrupted):
        run_in(tmp_path / "cut", data, plan, StopAfter(stop)).train(data, no_progress)
    assert (tmp_path / "cut" / "classifier.state").exists()
    (tmp_path / "cut" / ".classifier.abcd1234.state").write_bytes(b"of a killed process")
    run_in(tmp_path / "cut", data, plan).train(data, no_progress)
    whole, cut = files(tmp_path / "whole"), files(tmp_path / "cut")
    del whole["classifier.csv"], cut["classifier.csv"]  # has times
    assert whole == cut


def test_a_finished_one_is_left_alone(tmp_path: Path, data: LabelledImages):
    plan = ClassifierPlan(SMALL, FAST, 0)
    run_in(tmp_path, data, plan).train(data, no_progress)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    run_in(tmp_path, data, plan).train(data, no_progress)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before


def test_it_begins_with_given_weights_at_their_own_rate(tmp_path: Path, data: LabelledImages):
    weights = tmp_path / "weights.pth"
    torch.save(build_classifier(SMALL, tuple("abcde")).network.state_dict(), weights)
    config = ClassifierStageConfig(steps=1, batch=4, lr=0.5, finetune_lr=1e-6, log_every=1)
    run = run_in(tmp_path / "c", data, ClassifierPlan(SMALL, config, 0, str(weights)))
    run.train(data, no_progress)
    given, got = torch.load(weights)["features.0.0.weight"], run.load().network.state_dict()["features.0.0.weight"]
    assert 0 < float((given - got).abs().max()) < 1e-5
    moved = tmp_path / "moved.pth"
    shutil.move(weights, moved)
    assert run_in(run.folder, data, ClassifierPlan(SMALL, config, 0, str(moved))).finished()


def test_what_does_not_fit_is_refused(tmp_path: Path, data: LabelledImages):
    run = run_in(tmp_path / "c", data, ClassifierPlan(SMALL, FAST, 0))
    with pytest.raises(InputError, match="holds no classifier to resume"):
        run.check(resume=True)
    run.train(data, no_progress)
    with pytest.raises(InputError, match="already holds a classifier; add --resume"):
        run.check(resume=False)
    other = run_in(tmp_path / "c", data, ClassifierPlan(SMALL, FAST, 1))
    with pytest.raises(InputError, match=r"another configuration \(seed: 0 -> 1\)"):
        other.check(resume=True)
    with pytest.raises(InputError, match=r"another configuration \(seed: 0 -> 1\)"):
        other.train(data, no_progress)
    (tmp_path / "c" / "training.json").write_text("{}")
    with pytest.raises(InputError, match="damaged"):
        run.check(resume=True)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="not the training of a classifier"):
        run_in(tmp_path / "full", data, ClassifierPlan(SMALL, FAST, 0)).check(resume=False)
    with pytest.raises(InputError, match="cannot be read"):
        ClassifierPlan(SMALL, FAST, 0, str(tmp_path / "none.pth")).digest("x")
