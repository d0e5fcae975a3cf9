from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dimvida.data.opening import open_source
from dimvida.data.partitions import (
    PARTS,
    Partitions,
    first,
    load_partitions,
    make_partitions,
    of_classes,
    save_partitions,
    select_partition,
)
from dimvida.data.source import MultiViewSource, ObjectRecord
from dimvida.errors import InputError


def records_of(per_class: dict[str, int]) -> list[ObjectRecord]:
    return [
        ObjectRecord(f"{name}/{number}", str(number), name, "", ("front",))
        for name, count in per_class.items()
        for number in range(count)
    ]


CLASSES = st.dictionaries(st.text("abc", max_size=3), st.integers(1, 60), min_size=1, max_size=5)
FRACTIONS = (
    st.tuples(st.integers(0, 20), st.integers(0, 20), st.integers(0, 20))
    .filter(any)
    .map(lambda parts: tuple(part / sum(parts) for part in parts))
)
SEEDS = st.integers(0, 2**40)


@settings(deadline=None, max_examples=60)
@given(CLASSES, FRACTIONS, SEEDS)
def test_disjoint_and_complete(per_class, fractions, seed):
    records = records_of(per_class)
    partitions = make_partitions(records, fractions, seed)
    together = partitions.d + partitions.c + partitions.e
    assert sorted(together) == sorted(record.id for record in records)
    assert len(set(together)) == len(together)


@settings(deadline=None, max_examples=60)
@given(CLASSES, FRACTIONS, SEEDS)
def test_every_class_is_divided_by_the_fractions(per_class, fractions, seed):
    partitions = make_partitions(records_of(per_class), fractions, seed)
    for part, fraction in zip(PARTS, fractions, strict=True):
        counts = Counter(identity.split("/")[0] for identity in partitions.part(part))
        for name, count in per_class.items():
            assert abs(counts[name] - count * fraction) < 1
            if abs(count * fraction - round(count * fraction)) < 1e-9:
                assert counts[name] == round(count * fraction)


@settings(deadline=None, max_examples=60)
@given(CLASSES, FRACTIONS, SEEDS, st.randoms(use_true_random=False))
def test_order_of_the_records_does_not_matter(per_class, fractions, seed, shuffler):
    records = records_of(per_class)
    shuffled = records.copy()
    shuffler.shuffle(shuffled)
    assert make_partitions(shuffled, fractions, seed) == make_partitions(records, fractions, seed)


def test_seed_decides():
    records = records_of({"chair": 100, "table": 50})
    first, again, other = (make_partitions(records, seed=seed) for seed in (0, 0, 1))
    assert first == again
    assert set(first.d) != set(other.d)
    # Two independent choices of 60 % share 36 % of the objects.
    assert 0.2 < len(set(first.d) & set(other.d)) / 150 < 0.5


def test_known_choice():
    """What a seed means may not change between versions."""
    assert make_partitions(records_of({"chair": 5}), (0.6, 0.2, 0.2), 7) == Partitions(
        d=("chair/0", "chair/3", "chair/4"),
        c=("chair/1",),
        e=("chair/2",),
        fractions=(0.6, 0.2, 0.2),
        seed=7,
    )


def test_the_digest_is_of_who_is_where():
    records = records_of({"chair": 30, "table": 20})
    first, again, other = (
        make_partitions(records),
        make_partitions(records[::-1], source="x"),
        make_partitions(records, seed=1),
    )
    assert first.digest() == again.digest() != other.digest()
    swapped = Partitions(first.c, first.d, first.e, first.fractions, first.seed)
    assert swapped.digest() != first.digest()


def test_other_classes_do_not_matter():
    alone = make_partitions(records_of({"chair": 40}))
    both = make_partitions(records_of({"chair": 40, "table": 13}))
    assert tuple(identity for identity in both.d if identity.startswith("chair/")) == alone.d


@pytest.mark.parametrize("fractions", [(0.5, 0.5), (0.6, 0.2, 0.3), (1.2, -0.1, -0.1), (float("nan"), 0.5, 0.5)])
def test_unusable_fractions(fractions):
    with pytest.raises(InputError, match="give three of at least 0 that sum to 1"):
        make_partitions(records_of({"chair": 5}), fractions)


def test_no_objects():
    with pytest.raises(InputError, match="no objects"):
        make_partitions([])


@settings(deadline=None, max_examples=30)
@given(per_class=CLASSES, fractions=FRACTIONS, seed=SEEDS, source=st.text(max_size=5))
def test_written_and_read(tmp_path_factory, per_class, fractions, seed, source):
    path = tmp_path_factory.mktemp("partitions") / "parts.json"
    partitions = make_partitions(records_of(per_class), fractions, seed, source)
    save_partitions(partitions, path)
    assert load_partitions(path) == partitions


def test_file_is_plain_json(tmp_path):
    save_partitions(make_partitions(records_of({"chair": 5}), seed=7, source="views.zip"), tmp_path / "p.json")
    content = json.loads((tmp_path / "p.json").read_text())
    assert content == {
        "schema": "dimvida-partitions/1",
        "source": "views.zip",
        "seed": 7,
        "fractions": {"d": 0.6, "c": 0.2, "e": 0.2},
        "d": ["chair/0", "chair/3", "chair/4"],
        "c": ["chair/1"],
        "e": ["chair/2"],
    }
    assert [entry.name for entry in tmp_path.iterdir()] == ["p.json"]


GOOD = {
    "schema": "dimvida-partitions/1",
    "seed": 0,
    "fractions": {"d": 0.6, "c": 0.2, "e": 0.2},
    "d": ["a"],
    "c": ["b"],
    "e": [],
}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"schema": "dimvida-partitions/2"}, "schema 'dimvida-partitions/2' instead of"),
        ({"schema": None}, "schema None instead of"),
        ({"c": ["b", "a"]}, "object a is in d and in c; make it again"),
        ({"d": ["a", "a"]}, "object a is in d and in d"),
        ({"e": "abc"}, "part 'e' is not a list of object ids"),
        ({"e": [3]}, "part 'e' is not a list of object ids"),
        ({"fractions": {"d": 1}}, "seed or fractions"),
        ({"fractions": {"d": 1, "c": 1, "e": 1}}, "sum to 1"),
        ({"seed": "x"}, "seed or fractions"),
    ],
)
def test_unusable_content(tmp_path, change, reason):
    path = tmp_path / "p.json"
    path.write_text(json.dumps({**GOOD, **change}))
    with pytest.raises(InputError, match=reason) as caught:
        load_partitions(path)
    assert "sum to 1" in reason or str(caught.value).startswith(f"{path}: ")


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff\xff", b'"text"'])
def test_not_a_partition_file(tmp_path, content):
    path = tmp_path / "p.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"p\.json: (not a partition file|schema None)"):
        load_partitions(path)


def test_files_that_cannot_be_read_or_written(tmp_path):
    with pytest.raises(InputError, match=r"gone\.json: cannot be read \(No such file"):
        load_partitions(tmp_path / "gone.json")
    with pytest.raises(InputError, match=r"p\.json: cannot be written \(No such file"):
        save_partitions(make_partitions(records_of({"a": 3})), tmp_path / "gone" / "p.json")


def test_selecting_a_part(make, tmp_path):
    source = open_source(make.folder(tmp_path / "set", make.multi_view({"chair": 10, "table": 5})))
    partitions = make_partitions(source.records, seed=3)
    save_partitions(partitions, tmp_path / "p.json")
    sizes = {}
    for part in PARTS:
        selected = select_partition(source, tmp_path / "p.json", part)
        assert {record.id for record in selected.records} == set(partitions.part(part))
        assert selected.classes == source.classes
        sizes[part] = len(selected)
    assert sizes == {"d": 9, "c": 3, "e": 3}
    # The same from the object, in the order of the source.
    ids = [record.id for record in select_partition(source, partitions, "d").records]
    assert ids == [record.id for record in source.records if record.id in partitions.d]


def test_selecting_what_is_not_there(make, tmp_path):
    source = open_source(make.folder(tmp_path / "set", make.multi_view({"chair": 10})))
    partitions = make_partitions(source.records)
    save_partitions(partitions, tmp_path / "p.json")
    with pytest.raises(InputError, match="partition 'x': choose d, c, e"):
        select_partition(source, partitions, "x")
    with pytest.raises(InputError, match=r"p\.json: 6 objects of part d are not in .*set \(first: chair/"):
        select_partition(source.select([]), tmp_path / "p.json", "d")


def test_real_data(modelnet_zip):
    records = list(open_source(modelnet_zip, split="train").records)
    partitions = make_partitions(records)
    random.Random(0).shuffle(records)
    assert make_partitions(records) == partitions
    assert len(partitions.d) + len(partitions.c) + len(partitions.e) == 3727
    assert abs(len(partitions.d) - 0.6 * 3727) < 10


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
