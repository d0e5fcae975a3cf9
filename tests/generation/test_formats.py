"""What generation writes, read by those who are to read it: torchvision, webdataset, Hugging Face, dimvida.data."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from helpers.objects import VIEWS
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image
from torchvision.datasets import ImageFolder

from dimvida.data.batch import load_all
from dimvida.data.opening import open_source
from dimvida.generation.formats import FORMATS
from dimvida.generation.formats.webdataset import header, members
from dimvida.generation.plan import make_plan, stem_of
from dimvida.generation.run import Generation
from dimvida.generation.settings import resolve_settings
from dimvida.generation.verify import find_damage, open_output
from dimvida.sampling.multiview import MultiViewModel

OBJECTS = {"chair/a": ("front",), "chair/b.c": ("right", "left"), "table/c": VIEWS, "table/d": ("front", "back")}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, write_objects) -> Path:
    return write_objects(tmp_path_factory.mktemp("data") / "data", OBJECTS)


@pytest.fixture(scope="module")
def make(model: MultiViewModel, data: Path, tmp_path_factory) -> Callable[..., Path]:
    """Generates once for each set of options, in shards of three rows."""
    made: dict[str, Path] = {}

    def make(path: Path = data, **options) -> Path:
        key = f"{path} {options}"
        if key not in made:
            folder = made[key] = tmp_path_factory.mktemp("made") / "out"
            plan = make_plan(open_source(path), VIEWS, draws=2, given=options.pop("given", None))
            settings = resolve_settings(model, batch=2, shard_size=3, **options)
            with Generation(model, plan, settings, folder) as generation:
                generation.run()
        return made[key]

    return make


def pictures(folder: Path) -> dict[tuple[str, str], np.ndarray]:
    """By id of the object and view."""
    source = open_source(folder)
    return {
        (record.id.replace(".", "_"), view): source.read_view(index, view).pixels
        for index, record in enumerate(source.records)
        for view in record.views
    }


@pytest.mark.parametrize("known", [False, True])
def test_every_form_reads_back_as_the_same_pictures(make, known: bool):
    expected = pictures(make(include_known=known))
    assert len(expected) == 2 * (12 if known else 7)
    for form in ("webdataset", "npy", "parquet"):
        got = pictures(make(format=form, include_known=known))
        assert got.keys() == expected.keys()
        assert all(np.array_equal(got[key], expected[key]) for key in expected)


@pytest.mark.parametrize("form", FORMATS)
def test_objects_classes_and_kinds(make, form: str):
    source = open_source(make(format=form, include_known=True))
    ids = [record.id.replace("b.c", "b_c") for record in source.records]
    names = [name.replace(".", "_") for name in OBJECTS if name != "table/c"]
    assert sorted(ids) == sorted(f"{name}-{draw}" for name in names for draw in (0, 1))
    assert source.classes == ("chair", "table")
    for index, record in enumerate(source.records):
        name = record.id.rpartition("-")[0].replace("b_c", "b.c")
        for view in record.views:
            assert source.kind(index, view) == ("real" if view in OBJECTS[name] else "generated")
    batch, bad, _ = load_all(source, image_size=16, view_names=VIEWS)
    assert not bad and batch.known.all() and len(batch) == 6


def test_torchvision_reads_the_image_folder(make):
    folder = ImageFolder(make())
    assert folder.classes == ["chair", "table"]
    assert len(folder) == 14


def test_hugging_face_datasets_reads_the_image_folder(make, tmp_path: Path):
    datasets = pytest.importorskip("datasets")
    folder = make(include_known=True)
    loaded = datasets.load_dataset(
        "imagefolder", data_dir=str(folder), data_files="**", cache_dir=str(tmp_path / "cache")
    )
    assert list(loaded) == ["train"]
    assert len(loaded["train"]) == 24
    assert set(loaded["train"]["label"]) == {"chair", "table"}


def test_hugging_face_datasets_takes_no_name_for_a_split(make, tmp_path: Path, write_objects):
    datasets = pytest.importorskip("datasets")
    names = ("chair/test_01", "chair/a", "train/b", "val/c", "dev/d", "odd/e", "__odd/f", "logs.eval/g")
    data = write_objects(
        tmp_path / "data", dict.fromkeys((name.replace("..odd", "odd") for name in names), ("front", "left"))
    )
    loaded = datasets.load_dataset(str(make(data)), cache_dir=str(tmp_path / "cache"))
    assert list(loaded) == ["train"]
    assert len(loaded["train"]) == 2 * 2 * len(names)
    classes = sorted({"chair", "train", "val", "dev", "odd", "__odd", "logs.eval"})
    label = loaded["train"].features["label"]
    assert label == datasets.ClassLabel(names=classes)
    assert {label.int2str(number) for number in loaded["train"]["label"]} == set(classes)


def mixed(write_objects, folder: Path) -> Path:
    """The first objects have their front view only, and later ones the others."""
    objects = {f"chair/{number}": ("front",) for number in range(4)}
    return write_objects(folder, objects | {f"chair/{number}": ("right", "left") for number in range(4, 8)})


def test_hugging_face_datasets_reads_shards_of_objects_that_know_different_views(make, tmp_path: Path, write_objects):
    datasets = pytest.importorskip("datasets")
    data = mixed(write_objects, tmp_path / "data")
    cache = str(tmp_path / "cache")
    folder = make(data, format="webdataset", include_known=True)
    files = sorted(map(str, folder.glob("*.tar")))
    loaded = datasets.load_dataset("webdataset", data_files=files, cache_dir=cache)["train"]
    assert "null" not in str(loaded.features)
    rows = {row["__key__"]: row for row in loaded}
    assert len(rows) == 16
    first, last = rows["chair/0-0"]["json"]["views"], rows["chair/7-1"]["json"]["views"]
    assert (first["front"]["kind"], first["front"]["seed"], first["front"]["checkpoint"]) == ("real", -1, "")
    assert (last["front"]["kind"], last["front"]["seed"]) == ("generated", 0)
    assert last["front"]["source_sha256"]["left"] and last["front"]["source_sha256"]["front"] == ""

    folder = make(data, format="webdataset")
    loaded = datasets.load_dataset(str(folder), cache_dir=cache)["train"]
    assert len(loaded) == 16 and loaded.features["cls"] == datasets.ClassLabel(names=["chair"])
    for row in loaded:
        assert row["cls"] == 0 and set(row["json"]["views"]) == set(VIEWS)
        written = ("right", "back", "left") if row["__key__"] < "chair/4" else ("front", "back")
        assert [view for view in VIEWS if row[f"{view}.png"] is not None] == list(written)


def test_the_json_of_every_sample_has_the_same_fields(make, tmp_path: Path, write_objects):
    def shape(value):
        return {key: shape(entry) for key, entry in value.items()} if isinstance(value, dict) else type(value)

    folder = make(mixed(write_objects, tmp_path / "data"), format="webdataset")
    shapes = []
    for path in sorted(folder.glob("*.tar")):
        with tarfile.open(path) as archive:
            for entry in archive:
                if entry.name.endswith(".json"):
                    views = json.load(archive.extractfile(entry))["views"]
                    shapes.append(shape(views))
                    for view, line in views.items():
                        assert line["view"] == view
                        assert (line["file_name"] in archive.getnames()) == (line["kind"] == "generated")
    assert len(shapes) == 16 and all(other == shapes[0] for other in shapes)
    assert "NoneType" not in str(shapes[0])


def test_webdataset_reads_its_shards(make):
    wds = pytest.importorskip("webdataset")
    folder = make(format="webdataset", include_known=True)
    shards = sorted(map(str, folder.glob("shard-*.tar")))
    assert len(shards) == 2
    rows = list(wds.WebDataset(shards, shardshuffle=False).decode("rgb8"))
    assert [row["__key__"] for row in rows] == [
        f"{name}-{draw}" for name in ("chair/a", "chair/b_c", "table/d") for draw in (0, 1)
    ]
    expected = pictures(folder)
    for row in rows:
        assert row["cls"] == (0 if row["__key__"].startswith("chair") else 1)
        for view in VIEWS:
            assert np.array_equal(row[f"{view}.png"], expected[row["__key__"], view])
            line = row["json"]["views"][view]
            assert (line["view"], line["file_name"]) == (view, f"{row['__key__']}.{view}.png")


def test_a_tar_file_holds_images_json_and_numbers_and_says_nothing_of_its_maker(make):
    for path in make(format="webdataset").glob("*.tar"):
        with tarfile.open(path) as archive:
            for entry in archive:
                assert entry.name.endswith((".png", ".json", ".cls"))
                assert (entry.mtime, entry.uid, entry.gid, entry.uname, entry.gname) == (0, 0, 0, "", "")


def test_arrays_and_their_lines(make):
    folder = make(format="npy", include_known=True)
    expected = pictures(folder)
    seen = 0
    for path in sorted(folder.glob("*.npy")):
        array = np.load(path, allow_pickle=False)
        assert array.dtype == np.uint8 and array.shape[1:] == (16, 16, 3)
        lines = [json.loads(line) for line in path.with_suffix(".jsonl").read_text().splitlines()]
        assert len(lines) == len(array)
        for index, line in enumerate(lines):
            assert (line["array"], line["index"]) == (path.name, index)
            assert line["sha256"] == hashlib.sha256(array[index].tobytes()).hexdigest()
            assert np.array_equal(array[index], expected[line["key"].replace(".", "_"), line["view"]])
            seen += 1
        # Every object here has all its views written, so they can be taken together.
        assert [line["view"] for line in lines[:4]] == list(VIEWS)
    assert seen == 24


@pytest.mark.parametrize(("image_format", "kind", "suffix"), [("jpeg", "JPEG", ".jpg"), ("webp", "WEBP", ".webp")])
@pytest.mark.parametrize("form", ["imagefolder", "webdataset"])
def test_lossy_images(make, form: str, image_format: str, kind: str, suffix: str):
    folder = make(format=form, image_format=image_format, quality=95)
    expected, got = pictures(make()), pictures(folder)
    assert got.keys() == expected.keys()
    assert not any(np.array_equal(got[key], expected[key]) for key in expected)
    if form == "imagefolder":
        paths = [path for path in folder.glob("*/*.*") if path.suffix in (".png", ".jpg", ".webp")]
        assert len(paths) == 14 and {path.suffix for path in paths} == {suffix}
        assert Image.open(paths[0]).format == kind
        assert len(ImageFolder(folder)) == 14


def test_a_line_says_where_its_picture_is_and_what_it_was_made_of(make, data: Path, model: MultiViewModel):
    folder = make()
    lines = [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]
    for line in lines:
        stored = (folder / line["file_name"]).read_bytes()
        assert line["sha256"] == hashlib.sha256(stored).hexdigest()
        for view in line["known"]:
            given = (data / line["source"] / f"{view}.png").read_bytes()
            assert line["source_sha256"][view] == hashlib.sha256(given).hexdigest()
    assert {line["checkpoint"] for line in lines} == {model.checkpoint_hash}


def test_two_keys_that_a_tar_file_could_not_tell_apart(make, tmp_path: Path, write_objects):
    root = write_objects(tmp_path / "data", {"chair/a.b": VIEWS, "chair/a_b": VIEWS})
    source = open_source(make(root, format="webdataset", given=("front",)))
    assert len(source) == 4
    assert {"a_b-0", "a_b-1"} < {record.name for record in source.records}


@pytest.mark.parametrize("form", FORMATS)
def test_names_that_json_and_formats_have_to_escape_and_an_input_that_cannot_be_read(
    make, tmp_path, write_objects, form
):
    names = ('50% "a"', "100%s", "é\\n", "gone")
    data = write_objects(tmp_path / "data", {f"c%d{{}}/{name}": ("front", "left") for name in names})
    (data / "c%d{}/gone/left.png").write_bytes(b"")
    folder = make(data, format=form)
    assert find_damage(open_output(folder)) == []  # of npy, the header counts fewer pictures than were expected
    source = open_source(folder)
    assert len(source) == 2 * 3 and source.classes == ("c%d{}",)
    lines = [line for stem in map(stem_of, range(3)) for line in FORMATS[form].lines(folder, stem)]
    assert {line["source"] for line in lines} == {f"c%d{{}}/{name}" for name in names[:3]}
    assert {(line["label"], tuple(line["known"]), line["draw"]) for line in lines} == {
        ("c%d{}", ("front", "left"), draw) for draw in (0, 1)
    }
    for wanted in ({f"c%d{{}}/{names[1]}"}, {f"c%d{{}}/{name}" for name in (names[0], names[2], "of another")}, set()):
        told = [line for stem in map(stem_of, range(3)) for line in FORMATS[form].lines(folder, stem, wanted)]
        assert told == [line for line in lines if line["source"] in wanted]
    none = "" if form == "webdataset" else None
    for line in lines:
        files = {view: (data / line["source"] / f"{view}.png").read_bytes() for view in ("front", "left")}
        hashes = {view: hashlib.sha256(content).hexdigest() for view, content in files.items()}
        assert line["source_sha256"] == {"right": none, "back": none} | hashes


@given(
    st.text(st.characters(min_codepoint=33, max_codepoint=126) | st.sampled_from("é漢"), min_size=1, max_size=130),
    st.integers(0, 2**34),
)
@example("x" * 100, 8**11 - 1)
@example("x" * 101, 8**11)
def test_headers_of_tar_files_are_those_of_tarfile(name: str, size: int):
    entry = tarfile.TarInfo(name)
    entry.size = size
    assert header(name, size) == entry.tobuf(tarfile.PAX_FORMAT)


@given(st.lists(st.tuples(st.text(st.sampled_from("ab.é"), min_size=1, max_size=130), st.binary(max_size=1100))))
def test_members_of_tar_files_are_those_of_tarfile(files: list[tuple[str, bytes]]):
    blocks = [header(name, len(data)) + data + bytes(-len(data) % 512) for name, data in files]
    content = b"".join(blocks) + bytes(1024)
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as archive:
        expected = [(entry.name, entry.offset_data, entry.size) for entry in archive]
    assert list(members(io.BytesIO(content))) == expected


@pytest.mark.parametrize("damaged", [header("a", 700) + bytes(588), b"b" + header("a", 0)[1:] + bytes(1024)])
def test_members_of_a_damaged_tar_file(damaged: bytes):
    with pytest.raises(tarfile.TarError):
        list(members(io.BytesIO(damaged)))
