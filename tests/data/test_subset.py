"""The objects of chosen classes, and the first ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from dimvida.data.opening import open_source
from dimvida.data.source import MultiViewSource
from dimvida.data.subset import first, of_classes
from dimvida.errors import InputError


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory, write_objects) -> MultiViewSource:
    names = ("train/chair/a", "train/table/b", "train/chair/c", "test/lamp/d")
    folder = write_objects(tmp_path_factory.mktemp("data") / "data", dict.fromkeys(names, ("front", "left")))
    return open_source(folder, split="train")


def ids(source: MultiViewSource) -> list[str]:
    return [record.name for record in source.records]


def test_the_objects_of_some_classes_and_their_labels(source: MultiViewSource):
    assert of_classes(source, None) is source
    kept = of_classes(source, ("table",))
    assert ids(kept) == ["b"] and kept.classes == ("table",)
    kept = of_classes(source, ("table", "chair"), keep_labels=True)
    assert sorted(ids(kept)) == ["a", "b", "c"] and kept.classes == source.classes == ("chair", "lamp", "table")
    assert kept.read_view(0, "left").pixels.shape == source.read_view(0, "left").pixels.shape


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (("chairs",), "--classes chairs: .* has no such class; did you mean chair"),
        (("chair", "Tablet"), "--classes Tablet: .* did you mean table"),
        (("zzz",), "--classes zzz: .* it has chair, lamp, table"),
        (("lamp",), "--classes lamp: no objects of these classes in .*data"),
    ],
)
def test_classes_that_are_not_there(source: MultiViewSource, classes: tuple[str, ...], message: str):
    with pytest.raises(InputError, match=message):
        of_classes(source, classes)


def test_a_class_with_a_comma_is_suggested_as_the_command_line_takes_it(tmp_path: Path, write_objects):
    source = open_source(write_objects(tmp_path / "data", {"lamp, red/a": ("front", "left"), 'b"x/a': ("front",)}))
    assert ids(of_classes(source, ("lamp, red",))) == ["a"]
    with pytest.raises(InputError, match=r'--classes lamp: .* did you mean "lamp, red"[?]'):
        of_classes(source, ("lamp", "red"))
    with pytest.raises(InputError, match=r'--classes "x,": .* it has b"x, "lamp, red"'):
        of_classes(source, ("x,",))


def test_data_without_classes(tmp_path: Path, tiny_image):
    tiny_image(1).save(tmp_path / "a__front.png")
    with pytest.raises(InputError, match=r"--classes chair: .* it has none"):
        of_classes(open_source(tmp_path), ("chair",))


def test_the_first_objects(source: MultiViewSource):
    assert ids(first(source, 2)) == ids(source)[:2]
    assert first(source, None) is source and first(source, 3) is source and first(source, 99) is source
