"""d, c and e are disjoint, none of c and e was seen by the generator, and one view per object is all that is read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.objects import SIZE, VIEWS, write_shades

from dimvida.classification.design import Recipe
from dimvida.classification.objects import Roles, SingleViews, assign_roles, read_single_views, training_set
from dimvida.data.opening import open_source
from dimvida.data.partitions import make_partitions, save_partitions
from dimvida.errors import InputError


@pytest.fixture(scope="module")
def shades(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shades(tmp_path_factory.mktemp("data") / "shades", train=6, test=12)


@pytest.fixture
def partition(shades: Path, tmp_path: Path) -> Path:
    save_partitions(make_partitions(open_source(shades).records, (0.4, 0.3, 0.3)), tmp_path / "partition.json")
    return tmp_path / "partition.json"


def ids(part: Any) -> set[str]:
    return {record.id for record in part.records}


def assert_disjoint(roles: Roles) -> None:
    assert not ids(roles.c) & ids(roles.e)
    if roles.d is not None:
        assert not ids(roles.d) & (ids(roles.c) | ids(roles.e))


def provenance(**data: Any) -> dict[str, Any]:
    return {"data": {"name": "shades", "split": None, "partition": None, **data}}


def test_c_and_e_divide_the_test_split(shades: Path):
    roles = assign_roles(shades, provenance(split="train"))
    assert_disjoint(roles)
    assert ids(roles.c) | ids(roles.e) == {r.id for r in open_source(shades).records if r.split == "test"}
    assert ids(roles.d) == {r.id for r in open_source(shades).records if r.split == "train"}
    assert roles.notes == ()
    for part in (roles.c, roles.e):
        labels = [record.class_name for record in part.records]
        assert labels.count("dark") == labels.count("light") == 3
    assert ids(assign_roles(shades, provenance(split="train")).c) == ids(roles.c)
    assert ids(assign_roles(shades, provenance(split="train"), seed=1).c) != ids(roles.c)
    assert len(assign_roles(shades, provenance(split="train"), c_share=0.7).c) == 8


def test_a_partition_is_taken_as_it_is(shades: Path, partition: Path):
    content = json.loads(partition.read_text())
    trained = provenance(partition="partition.json", partition_sha256=_digest(partition))
    roles = assign_roles(shades, trained, partition=partition)
    assert_disjoint(roles)
    assert (ids(roles.d), ids(roles.c), ids(roles.e)) == tuple(set(content[part]) for part in "dce")
    assert roles.notes == ()


def _digest(partition: Path) -> str:
    from dimvida.data.partitions import load_partitions

    return load_partitions(partition).digest()


@pytest.mark.parametrize(
    ("trained", "arguments", "message"),
    [
        (provenance(split="test"), {}, "trained on the split 'test' of shades, with 12 objects of c and e"),
        (provenance(split="train"), {"split": "train"}, "trained on the split 'train' of shades, with 6 objects"),
        (provenance(), {}, "trained on all objects of shades"),
        (provenance(partition="p.json"), {}, "give that --partition"),
        ({**provenance(split="train"), "init": provenance()}, {}, "trained on all objects of shades"),
    ],
)
def test_objects_that_the_generator_has_seen_are_refused(shades: Path, trained: dict, arguments: dict, message: str):
    with pytest.raises(InputError, match=message):
        assign_roles(shades, trained, **arguments)


def test_a_partition_that_the_generator_was_not_trained_on_is_refused(shades: Path, partition: Path, tmp_path: Path):
    with pytest.raises(InputError, match="the split 'train' of shades"):
        assign_roles(shades, provenance(split="train"), partition=partition)
    other = provenance(partition="partition.json", partition_sha256="0" * 64)
    with pytest.raises(InputError, match="another partition of this data"):
        assign_roles(shades, other, partition=partition)


@pytest.mark.parametrize("trained", [{}, {"data": {"name": "other"}}, {"data": None}])
def test_what_cannot_be_known_is_said(shades: Path, trained: dict):
    (note,) = assign_roles(shades, trained).notes
    assert "is yours to know" in note


def test_what_a_generator_was_started_from_counts_too(shades: Path):
    start = {
        "data": {"name": "big.zip"},
        "init": {"data": {"name": "small.zip"}, "init": {"data": {"name": "big.zip"}}},
    }
    (note,) = assign_roles(shades, {**provenance(split="train"), "init": start}).notes
    assert note.startswith("the generator was trained on big.zip and small.zip; ")


def test_a_partition_of_an_older_provenance_is_taken_with_a_note(shades: Path, partition: Path):
    (note,) = assign_roles(shades, provenance(partition="partition.json"), partition=partition).notes
    assert "taken to be this one" in note


def test_what_does_not_fit_is_refused(shades: Path, partition: Path, tmp_path: Path):
    for arguments, message in [
        ({"partition": partition, "split": "test"}, "give one of them"),
        ({"c_share": 1.0}, "--c-share 1: must be between 0 and 1"),
        ({"split": "val"}, "has no split 'val'"),
        ({"c_share": 0.01}, "no objects for part c"),
    ]:
        with pytest.raises(InputError, match=message):
            assign_roles(shades, {}, **arguments)
    content = json.loads(partition.read_text())
    content["e"].append(content["d"][0])
    partition.write_text(json.dumps(content))
    with pytest.raises(InputError, match="is in d and in e"):
        assign_roles(shades, {}, partition=partition)


def read(path: Path, **options: int) -> SingleViews:
    objects, bad, _ = read_single_views(open_source(path), VIEWS, SIZE, **options)
    assert not bad
    return objects


@pytest.fixture
def own_shades(tmp_path: Path) -> Path:
    return write_shades(tmp_path / "shades", train=8, test=12)


def test_each_object_shows_one_of_its_views_with_its_class(own_shades: Path):
    objects = read(own_shades)
    assert len(objects) == 20 and objects.images.shape == (20, 3, SIZE, SIZE)
    source = open_source(own_shades)
    for row, record in enumerate(source.records):
        assert objects.ids[row] == record.id
        assert source.classes[objects.labels[row]] == record.class_name
        pixels = source.read_view(row, VIEWS[objects.views[row]]).pixels
        assert torch.equal(objects.images[row], torch.from_numpy(pixels).permute(2, 0, 1))
    assert torch.equal(objects.known().int().argmax(1), objects.views)
    assert objects.views.unique().numel() == 4


def test_the_other_views_are_never_read(own_shades: Path):
    before = read(own_shades)
    for row, identity in enumerate(before.ids):
        for view, name in enumerate(VIEWS):
            if view != before.views[row]:
                (own_shades / identity / f"{name}.png").write_bytes(b"not an image")
    after = read(own_shades)
    assert after.digest == before.digest and torch.equal(after.images, before.images)


def test_the_choice_depends_on_the_object_and_the_seed_alone(own_shades: Path):
    whole = read(own_shades)
    part, _, _ = read_single_views(open_source(own_shades, split="test"), VIEWS, SIZE)
    chosen = dict(zip(whole.ids, whole.views.tolist(), strict=True))
    assert [chosen[identity] for identity in part.ids] == part.views.tolist()
    assert not torch.equal(read(own_shades, seed=1).views, whole.views)


def test_a_limit_is_spread_over_the_classes(own_shades: Path):
    objects = read(own_shades, limit=10)
    assert len(objects) == 10 and 0 < int(objects.labels.sum()) < 10


def test_an_unreadable_view_leaves_its_object_out(own_shades: Path):
    before = read(own_shades)
    (own_shades / before.ids[3] / f"{VIEWS[before.views[3]]}.png").write_bytes(b"not an image")
    objects, bad, _ = read_single_views(open_source(own_shades), VIEWS, SIZE)
    assert objects.ids == before.ids[:3] + before.ids[4:]
    assert len(bad) == 1 and before.ids[3] in bad[0].location


def test_objects_without_class_are_refused(tmp_path: Path, write_objects):
    path = write_objects(tmp_path / "one", {"chair/a": VIEWS, "chair/b": VIEWS})
    with pytest.raises(InputError, match="at least 2 classes"):
        read_single_views(open_source(path), VIEWS, SIZE)


CLASSES = ("dark", "light")


def test_c_is_the_real_views(single_views):
    c = single_views(6)
    data = training_set(Recipe("resnet18"), c, [], CLASSES)
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
    recipe = Recipe("resnet18", augmented=True, draws=2)
    data = training_set(recipe, c, draws, CLASSES)
    assert len(data.images) == 6 * recipe.pictures(4) == 6 * (1 + 3 * 2)
    assert torch.equal(data.images[:6], c.images)
    marks = data.images[6:, 0, 0, 0]
    assert torch.equal(data.labels[6:], c.labels[torch.div(marks, 10, rounding_mode="floor").long()])
    assert (marks.bincount()[marks.unique().long()] == 3).all() and marks.unique().numel() == 12
