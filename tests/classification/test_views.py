"""One view per object is all that is read."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from helpers.objects import SIZE, VIEWS, write_shades

from dimvida.classification.views import SingleViews, read_single_views
from dimvida.data.opening import open_source
from dimvida.errors import InputError


def read(path: Path, **options: int) -> SingleViews:
    objects, bad, _ = read_single_views(open_source(path), VIEWS, SIZE, **options)
    assert not bad
    return objects


@pytest.fixture
def shades(tmp_path: Path) -> Path:
    return write_shades(tmp_path / "shades", train=8, test=12)


def test_each_object_shows_one_of_its_views_with_its_class(shades: Path):
    objects = read(shades)
    assert len(objects) == 20 and objects.images.shape == (20, 3, SIZE, SIZE)
    source = open_source(shades)
    for row, record in enumerate(source.records):
        assert objects.ids[row] == record.id
        assert source.classes[objects.labels[row]] == record.class_name
        pixels = source.read_view(row, VIEWS[objects.views[row]]).pixels
        assert torch.equal(objects.images[row], torch.from_numpy(pixels).permute(2, 0, 1))
    assert torch.equal(objects.known().int().argmax(1), objects.views)
    assert objects.views.unique().numel() == 4


def test_the_other_views_are_never_read(shades: Path):
    before = read(shades)
    for row, identity in enumerate(before.ids):
        for view, name in enumerate(VIEWS):
            if view != before.views[row]:
                (shades / identity / f"{name}.png").write_bytes(b"not an image")
    after = read(shades)
    assert after.digest == before.digest and torch.equal(after.images, before.images)


def test_the_choice_depends_on_the_object_and_the_seed_alone(shades: Path):
    whole = read(shades)
    part, _, _ = read_single_views(open_source(shades, split="test"), VIEWS, SIZE)
    chosen = dict(zip(whole.ids, whole.views.tolist(), strict=True))
    assert [chosen[identity] for identity in part.ids] == part.views.tolist()
    assert not torch.equal(read(shades, seed=1).views, whole.views)


def test_a_limit_is_spread_over_the_classes(shades: Path):
    objects = read(shades, limit=10)
    assert len(objects) == 10 and 0 < int(objects.labels.sum()) < 10


def test_an_unreadable_view_leaves_its_object_out(shades: Path):
    before = read(shades)
    (shades / before.ids[3] / f"{VIEWS[before.views[3]]}.png").write_bytes(b"not an image")
    objects, bad, _ = read_single_views(open_source(shades), VIEWS, SIZE)
    assert objects.ids == before.ids[:3] + before.ids[4:]
    assert len(bad) == 1 and before.ids[3] in bad[0].location


def test_objects_without_class_are_refused(tmp_path: Path, write_objects):
    path = write_objects(tmp_path / "one", {"chair/a": VIEWS, "chair/b": VIEWS})
    with pytest.raises(InputError, match="at least 2 classes"):
        read_single_views(open_source(path), VIEWS, SIZE)
