"""What is known and what is generated, object by object."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.objects import VIEWS
from hypothesis import given
from hypothesis import strategies as st

from dimvida.data.opening import open_source
from dimvida.errors import InputError
from dimvida.generation.inputs import open_input
from dimvida.generation.plan import MOST_SHARDS, cut_shards, default_shard_size, make_plan


@pytest.fixture
def mixed(tmp_path: Path, write_objects):
    """Three objects with one, two and all four views."""
    objects = {"chair/a": ("front",), "chair/b": ("right", "left"), "table/c": VIEWS}
    return open_source(write_objects(tmp_path / "mixed", objects))


def sets(plan) -> dict[str, tuple[tuple[str, ...], tuple[str, ...]]]:
    return {task.record.id: (task.known, task.targets) for task in plan.tasks}


def test_by_default_what_is_there_is_known_and_the_rest_is_made(mixed):
    plan = make_plan(mixed, VIEWS)
    assert sets(plan) == {
        "chair/a": (("front",), ("right", "back", "left")),
        "chair/b": (("right", "left"), ("front", "back")),
    }
    assert plan.left_out == {"nothing is missing": 1}
    assert plan.views == 5


@pytest.mark.parametrize("draws", [1, 2, 5])
def test_views_in_some_rows_are_those_of_each_of_them(mixed, draws: int):
    plan = make_plan(mixed, VIEWS, draws=draws)
    for start in range(len(plan) + 1):
        for stop in range(start, len(plan) + 1):
            rows = [plan.row(place) for place in range(start, stop)]
            assert plan.views_of(range(start, stop)) == sum(len(row.task.targets) for row in rows)
            assert plan.known_in(range(start, stop)) == sum(len(row.task.known) for row in rows)
    assert plan.views_of(range(len(plan))) == plan.views


def test_given_views_are_known_and_held_back_ones_are_made(mixed):
    plan = make_plan(mixed, VIEWS, given=("left", "front"))
    assert sets(plan) == {
        "chair/a": (("front",), ("right", "back", "left")),
        "chair/b": (("left",), ("front", "right", "back")),
        "table/c": (("front", "left"), ("right", "back")),
    }


def test_targets_limit_what_is_made_and_are_never_known(mixed):
    plan = make_plan(mixed, VIEWS, targets=("back", "left"))
    assert sets(plan) == {
        "chair/a": (("front",), ("back", "left")),
        "chair/b": (("right",), ("back", "left")),
        "table/c": (("front", "right"), ("back", "left")),
    }
    both = make_plan(mixed, VIEWS, given=("front",), targets=("left",))
    assert sets(both) == {"chair/a": (("front",), ("left",)), "table/c": (("front",), ("left",))}
    assert both.left_out == {"has none of the views front": 1}


def test_views_are_matched_by_name_not_by_place(mixed):
    plan = make_plan(mixed, ("left", "back", "right", "front"), given=("front", "left"))
    assert sets(plan)["table/c"] == (("left", "front"), ("back", "right"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"given": ("top",)}, "--view top: the checkpoint has no such view; it has front, right, back, left"),
        ({"targets": ("top",)}, "--target top: the checkpoint has no such view"),
        ({"given": ("front",), "targets": ("front", "left")}, "--view front: is also in --target"),
        ({"draws": 0}, "--samples-per-view 0"),
    ],
)
def test_options_that_make_no_sense(mixed, options, message):
    with pytest.raises(InputError, match=message):
        make_plan(mixed, VIEWS, **options)


def test_nothing_to_do(tmp_path: Path, write_objects):
    whole = open_source(write_objects(tmp_path / "whole", {"chair/a": VIEWS, "chair/b": VIEWS}))
    with pytest.raises(InputError, match=r"nothing is missing.*give --view"):
        make_plan(whole, VIEWS)
    with pytest.raises(InputError, match=r"nothing is missing.*give fewer of them with --view"):
        make_plan(whole, VIEWS, given=VIEWS)
    sides = open_source(write_objects(tmp_path / "sides", {"chair/a": ("left", "right"), "chair/b": ("left",)}))
    with pytest.raises(InputError, match=r"--view front: .* has no such view; it has right, left"):
        make_plan(sides, VIEWS, given=("front",))


def test_a_view_of_the_input_that_the_checkpoint_lacks(tmp_path: Path, write_objects):
    objects = {"chair/a": ("front", "top"), "chair/b": ("front", "top")}
    source = open_source(write_objects(tmp_path / "data", objects))
    with pytest.raises(InputError, match=r"no view 'top'; choose known views .* with --view"):
        make_plan(source, VIEWS)
    assert sets(make_plan(source, VIEWS, given=("front",)))["chair/a"] == (("front",), ("right", "back", "left"))


def test_the_digest_tells_plans_apart(mixed):
    plans = [
        make_plan(mixed, VIEWS),
        make_plan(mixed, VIEWS, draws=2),
        make_plan(mixed, VIEWS, targets=("back",)),
        make_plan(mixed, VIEWS, given=("front",)),
        make_plan(mixed, (*VIEWS, "top")),
        make_plan(mixed.select([1, 0]), VIEWS),
    ]
    assert len({plan.digest() for plan in plans}) == len(plans)
    assert make_plan(mixed, VIEWS).digest() == plans[0].digest()


class TestOpening:
    def test_images_without_a_view_take_the_option(self, tmp_path: Path, tiny_image):
        (tmp_path / "chair").mkdir()
        tiny_image().save(tmp_path / "chair" / "a.png")
        source = open_input(tmp_path, VIEWS, ("back",))
        assert [(record.id, record.views) for record in source.records] == [("chair/a", ("back",))]

    def test_images_that_name_their_views_keep_them(self, tmp_path: Path, tiny_image):
        (tmp_path / "chair").mkdir()
        for view in ("front", "left"):
            tiny_image().save(tmp_path / "chair" / f"a__{view}.png")
        source = open_input(tmp_path, VIEWS, ("front",))
        assert [(record.id, record.views) for record in source.records] == [("chair/a", ("front", "left"))]

    def test_a_counter_in_the_name_is_not_a_view(self, tmp_path: Path, tiny_image):
        (tmp_path / "chair").mkdir()
        tiny_image().save(tmp_path / "chair" / "IMG__0012.png")
        source = open_input(tmp_path, VIEWS, ("front",))
        assert [(record.id, record.views) for record in source.records] == [("chair/IMG__0012", ("front",))]

    def test_a_folder_around_single_images(self, tmp_path: Path, tiny_image):
        for name in ("chair/001", "chair/002", "table/001"):
            (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
            tiny_image().save(tmp_path / "photos" / f"{name}.png")
        source = open_input(tmp_path, VIEWS, ("front",))
        assert [record.id for record in source.records] == ["chair/001", "chair/002", "table/001"]

    def test_files_called_by_their_views_are_not_objects(self, tmp_path: Path, write_objects):
        root = write_objects(tmp_path / "one", {"chair/a": ("front",), "chair/b": ("front",)})
        with pytest.raises(InputError, match="only one view"):
            open_input(root, VIEWS, ("front",))
        root = write_objects(tmp_path / "two", {"chair/a": ("left", "right"), "chair/b": ("left", "right")})
        assert [record.id for record in open_input(root, VIEWS, ("front",)).records] == ["chair/a", "chair/b"]

    def test_an_unusable_input_is_reported_as_such(self, tmp_path: Path):
        with pytest.raises(InputError, match="empty"):
            open_input(tmp_path, VIEWS, ("front",))


SIZES = st.integers(1, 300)


@given(rows=SIZES, size=SIZES, batch=SIZES)
def test_every_row_is_in_one_batch_of_one_shard_in_order(rows: int, size: int, batch: int):
    shards = cut_shards(rows, size)
    assert [shard.number for shard in shards] == list(range(-(-rows // size)))
    batches = [batch_rows for shard in shards for batch_rows in shard.batches(batch)]
    assert [row for batch_rows in batches for row in batch_rows] == list(range(rows))
    assert max(map(len, batches)) <= min(batch, size)


def test_so_many_shards_that_nobody_could_list_them():
    assert len(cut_shards(MOST_SHARDS, 1)) == MOST_SHARDS
    with pytest.raises(InputError, match=r"--shard-size 7: .* would be 142,857,142,857,142,858 shards, more than"):
        cut_shards(10**18, 7)


@given(st.integers(1, 20_000))
def test_shards_hold_whole_batches(batch: int):
    size = default_shard_size(batch)
    assert size % batch == 0
    assert 1024 <= size < 1024 + batch or size == batch
