"""Output names: readable, unique, and always inside the output folder."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dimvida.data.opening import open_source
from dimvida.data.source import ObjectRecord
from dimvida.errors import InputError
from dimvida.generation.names import FileNames, safe_part
from dimvida.generation.plan import Plan, Task, make_plan

VIEWS = ("front", "right", "back", "left")


def plan_of(source, *records: tuple[str, str], draws: int = 1, views=VIEWS) -> Plan:
    """A plan of objects (class, name), which no loader needs to have let through."""
    tasks = tuple(
        Task(index, ObjectRecord(f"{class_name}/{name}", name, class_name, "", ("front",)), ("front",), ("left",))
        for index, (class_name, name) in enumerate(records)
    )
    return Plan(source, views, tasks, draws, {})


@pytest.fixture
def source(tmp_path: Path, write_objects):
    return open_source(write_objects(tmp_path / "data", {"chair/a": VIEWS, "chair/b": VIEWS}))


@given(st.text())
@example("..")
@example("../../etc/passwd")
@example("C:\\windows")
@example(".hidden")
@example("ü" * 500)
@example("name\n")
def test_any_text_becomes_one_visible_part(text):
    part = safe_part(text)
    assert PurePosixPath(part).parts == (part,)
    assert part not in (".", "..") and not part.startswith(".")
    assert not set(part) & set('/\\:*?"<>|\n\0')
    assert 0 < len(part.encode()) <= 180


@given(st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_ -]{0,98}[A-Za-z0-9_]", fullmatch=True))
def test_ordinary_names_stay_as_they_are(text):
    assert safe_part(text) == text


def test_long_names_stay_different():
    assert safe_part("x" * 400 + "a") != safe_part("x" * 400 + "b")


def test_paths(source):
    plan = plan_of(source, ("chair", "a"), ("", "b"), ("../..", "../c"))
    names = FileNames(plan)
    assert [names.path(task, 0, "left") for task in plan.tasks] == [
        "chair/a__left.png",
        "unlabeled/b__left.png",
        "___/___c__left.png",
    ]


def test_several_draws_are_objects_of_their_own(source):
    plan = plan_of(source, ("chair", "a"), ("chair", "a-0"), draws=2)
    names = FileNames(plan)
    paths = [names.path(task, draw, "left") for task in plan.tasks for draw in range(2)]
    assert paths == [
        "chair/a-0__left.png",
        "chair/a-1__left.png",
        "chair/a-0-0__left.png",
        "chair/a-0-1__left.png",
    ]


def test_two_objects_for_one_file_are_refused(tmp_path: Path, write_objects):
    objects = {"train/chair/a": VIEWS, "test/chair/a": VIEWS}
    source = open_source(write_objects(tmp_path / "data", objects))
    with pytest.raises(InputError, match=r"test/chair/a and train/chair/a .*--split"):
        FileNames(make_plan(source, VIEWS, given=("front",)))


@pytest.mark.parametrize("view", ["../top", "a/b", "a__b"])
def test_views_that_cannot_be_part_of_a_name_are_refused(source, view):
    with pytest.raises(InputError):
        FileNames(plan_of(source, ("chair", "a"), views=(*VIEWS, view)))
