"""Output names: readable, unique, and always inside the output folder."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest
from helpers.objects import VIEWS
from hypothesis import example, given
from hypothesis import strategies as st

from dimvida.data.image_objects import _name_and_view
from dimvida.data.opening import open_source
from dimvida.data.source import ObjectRecord
from dimvida.errors import InputError
from dimvida.generation.names import FileNames, safe_part, unlike
from dimvida.generation.plan import GenerationPlan, make_plan
from dimvida.generation.tasks import Tasks


class Records:
    """A source, as far as names need one."""

    def __len__(self) -> int:
        return len(self.records)


def plan_of(source, *records: tuple[str, str], draws: int = 1, views=VIEWS) -> GenerationPlan:
    """A plan of objects (class, name), which no loader needs to have let through."""
    restricted = Records()
    restricted.path = None if source is None else source.path
    restricted.records = [
        ObjectRecord(f"{class_name}/{name}", name, class_name, "", ("front",)) for class_name, name in records
    ]
    tasks = Tasks(restricted, ((index, (("front",), ("left",))) for index in range(len(records))))
    return GenerationPlan(restricted, views, tasks, draws, {})


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
    assert [f"{names.key(task, 0)}__left.png" for task in plan.tasks] == [
        "chair/a__left.png",
        "unlabeled/b__left.png",
        "___/___c__left.png",
    ]


def test_several_draws_are_objects_of_their_own(source):
    plan = plan_of(source, ("chair", "a"), ("chair", "a-0"), draws=2)
    names = FileNames(plan)
    paths = [f"{names.key(task, draw)}__left.png" for task in plan.tasks for draw in range(2)]
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


@given(st.lists(st.text("ab ._?*:-\u00e9e\u0301\x85", min_size=1), unique=True, max_size=8))
@example(["what?", "what*", "what_"])
@example(["chair", "chair ", "chair.", "chair .", "chair_"])
@example(["Chair", "chair", "\u00e9", "e\u0301"])
@example(["x" * 400, "x" * 401, "x" * 180])
@example(["\ud800", "\ud801"])
def test_different_names_stay_different(texts):
    parts = unlike(texts, safe_part)
    assert list(parts) == texts and len(set(parts.values())) == len(texts)
    for text, part in parts.items():
        assert len(part.encode()) <= 180
        assert part == text or safe_part(text) != text  # what is safe stays as it is


def test_a_name_made_of_anothers_hash_is_refused():
    made = unlike(["a?", "a*"], safe_part)["a?"]
    with pytest.raises(InputError, match=r"would both be written as a_-\w+; rename one"):
        unlike(["a?", "a*", made], safe_part)


def folders(source, *classes: str, form: str = "imagefolder") -> list[str]:
    plan = plan_of(source, *((name, "a") for name in classes))
    names = FileNames(plan, form)
    return [names.key(task, 0).partition("/")[0] for task in plan.tasks]


@pytest.mark.parametrize("form", ["imagefolder", "webdataset", "npy"])
def test_as_many_folders_as_classes(source, form: str):
    classes = ["chair", "chair ", "what?", "what*", "a.b", "a_b", "", "unlabeled", "Chair", "__x__", "....", ".x"]
    made = folders(source, *classes, form=form)
    assert len(set(made)) == len(classes)
    assert (made[0], made[5], made[7]) == ("chair", "a_b", "unlabeled")


@pytest.mark.parametrize(
    "name",
    ["report.json", "metadata.jsonl", "generation.json", "shard-000000.json", "SHARD-0000001.jsonl", "aux", "con.x"],
)
def test_a_class_named_like_one_of_our_files_or_a_device_of_windows(source, name: str):
    assert folders(source, name, f"_{name}")[1] == f"_{name}"
    assert folders(source, name) == [f"_{name}"]
    assert len(set(folders(source, name, f"_{name}"))) == 2


def test_objects_that_become_equal_stay_two(source):
    plan = plan_of(source, ("chair", "a?"), ("chair", "a*"), ("chair", "a_"), ("sofa", "a?"))
    paths = [f"{FileNames(plan).key(task, 0)}__left.png" for task in plan.tasks]
    assert len(set(paths)) == 4
    assert paths[2:] == ["chair/a___left.png", "sofa/a___left.png"]


def test_no_key_of_a_tar_file_has_dots_or_is_passed_over(source):
    plan = plan_of(source, ("a.b", "c.d"), ("a.b", "c_d"), ("__x__", "e"))
    keys = [FileNames(plan, "webdataset").key(task, 0) for task in plan.tasks]
    assert len(set(keys)) == 3 and not any("." in key for key in keys)
    assert keys[1] == "a_b/c_d" and keys[2].startswith("__x__-")


VIEW = st.from_regex(r"[+-]?[A-Za-z0-9](_?[A-Za-z0-9. +-]){0,5}[A-Za-z0-9]_?", fullmatch=True)


@given(st.text(min_size=1, max_size=8), st.text("_ab", min_size=1, max_size=6), VIEW)
@example("a_", "a", "x")
@example("a", "_", "x_")
@example("a__b", "__", "b")
def test_object_and_view_of_a_file_are_those_it_was_named_by(name, other, view):
    plan = plan_of(None, *{("c", name): 0, ("c", other): 0}, views=(view,))
    names, seen = FileNames(plan), set()
    for task in plan.tasks:
        path = PurePosixPath(f"{names.key(task, 0)}__{view}.png")
        part = names.key(task, 0).rpartition("/")[2]
        assert _name_and_view("file", path.stem, {}) == (part, view)
        assert _name_and_view("file", path.stem, {"metadata.jsonl": view}) == (part, view)
        seen.add(path)
    assert len(seen) == len(plan.tasks)


def test_every_name_fits_into_a_file_system(source, tmp_path: Path):
    long = "ü" * 300
    view = "v" * 48
    plan = plan_of(source, (long, long), views=(*VIEWS, view), draws=12_345_678)
    path = tmp_path / f"{FileNames(plan).key(plan.tasks[0], 12_345_677)}__{view}.webp"
    path.parent.mkdir()
    path.touch()
    with pytest.raises(InputError, match="at most 48 bytes"):
        FileNames(plan_of(source, ("chair", "a"), views=(*VIEWS, view + "v")))


@pytest.mark.parametrize("view", ["../top", "a/b", "a__b", "_x", "__"])
def test_views_that_cannot_be_part_of_a_name_are_refused(source, view):
    with pytest.raises(InputError):
        FileNames(plan_of(source, ("chair", "a"), views=(*VIEWS, view)))
