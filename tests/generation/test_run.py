"""From views on disk to completed views on disk, with a model of random weights."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.objects import VIEWS, lines_of, tree
from PIL import Image
from torchvision.datasets import ImageFolder

from dimvida.data.opening import open_source
from dimvida.errors import InputError
from dimvida.generation.plan import make_plan
from dimvida.generation.run import Generation
from dimvida.generation.settings import resolve_settings
from dimvida.generation.stats import GenerationReport
from dimvida.sampling.multiview import MultiViewModel
from dimvida.sampling.trajectory import sample_id


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, write_objects) -> Path:
    """Five objects: one view, two views, all views."""
    objects = {
        "chair/a": ("front",),
        "chair/b": ("right", "left"),
        "table/c": VIEWS,
        "table/d": ("front", "back"),
        "table/e": ("left",),
    }
    return write_objects(tmp_path_factory.mktemp("data") / "data", objects)


@pytest.fixture(scope="module")
def make(model: MultiViewModel, data: Path) -> Callable[..., GenerationReport]:
    """Runs a generation into a folder."""

    def make(folder: Path, *, path: Path = data, stop: int | None = None, **options) -> GenerationReport:
        plan_options = {name: options.pop(name) for name in ("given", "targets", "draws") if name in options}
        run_options = {name: options.pop(name) for name in ("strict", "overwrite", "workers") if name in options}
        plan = make_plan(open_source(path), model.view_names, **plan_options)
        settings = resolve_settings(model, **options)
        batches = 0

        def progress(views: int) -> None:
            nonlocal batches
            batches += 1
            if batches == stop:
                raise KeyboardInterrupt

        with Generation(model, plan, settings, folder, **run_options) as generation:
            return generation.run(progress)

    return make


def pictures(folder: Path) -> dict[str, np.ndarray]:
    return {
        str(path.relative_to(folder)): np.asarray(Image.open(path)).astype(int) for path in folder.rglob("[!.]*.png")
    }


def largest_difference(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> int:
    assert a.keys() == b.keys()
    return max(int(np.abs(a[name] - b[name]).max()) for name in a)


def test_any_batch_gives_the_same_pictures_and_the_same_noise(make, tmp_path: Path):
    for size in (1, 3, 7):
        make(tmp_path / str(size), batch=size, draws=2)
    reference = pictures(tmp_path / "1")
    assert len(reference) == 2 * (3 + 2 + 2 + 3)
    ids = {line["file_name"]: line["sample_id"] for line in lines_of(tmp_path / "1")}
    for size in (3, 7):
        assert largest_difference(reference, pictures(tmp_path / str(size))) <= 1
        assert {line["file_name"]: line["sample_id"] for line in lines_of(tmp_path / str(size))} == ids
    # The pictures differ where they should: the tolerance above is not met by grey mush.
    assert largest_difference({"x": reference["chair/a-0__left.png"]}, {"x": reference["chair/a-1__left.png"]}) > 8


def test_an_object_is_the_same_alone_and_among_others(make, data: Path, tmp_path: Path):
    """Its neighbours in the batch have other sets of known views."""
    make(tmp_path / "all", batch=5)
    together = pictures(tmp_path / "all")
    for name in ("chair/b", "table/d"):
        shutil.copytree(data / name, tmp_path / "one" / name)
        make(tmp_path / "out" / name, path=tmp_path / "one", batch=1)
        alone = pictures(tmp_path / "out" / name)
        assert largest_difference(alone, {file: together[file] for file in alone}) <= 1
        assert len(alone) == 2
        shutil.rmtree(tmp_path / "one")


def test_known_views_are_written_untouched(make, data: Path, tmp_path: Path):
    make(tmp_path / "out", include_known=True)
    written = pictures(tmp_path / "out")
    assert len(written) == 16  # four objects, four views; the complete one is left out
    for name, view in (("chair/a", "front"), ("chair/b", "left"), ("table/d", "back")):
        original = np.asarray(Image.open(data / name / f"{view}.png"))
        assert np.array_equal(written[f"{name}__{view}.png"], original)
    kinds = {line["file_name"]: line["kind"] for line in lines_of(tmp_path / "out")}
    assert kinds["chair/a__front.png"] == "real" and kinds["chair/a__left.png"] == "generated"


def test_what_a_line_says(make, model: MultiViewModel, data: Path, tmp_path: Path):
    make(tmp_path / "out", seed=5, steps=3, solver="ddim", backend="eager", given=("left", "back"), targets=("right",))
    first = lines_of(tmp_path / "out")[0]
    digest = hashlib.sha256((data / "table/c/back.png").read_bytes()).hexdigest()
    by_name = {line["file_name"]: line for line in lines_of(tmp_path / "out")}
    line = by_name["table/c__right.png"]
    assert list(first) == list(line)
    assert line["source"] == "table/c"
    assert line["source_sha256"]["back"] == digest and line["source_sha256"]["front"] is None
    assert (line["view"], line["kind"], line["label"], line["known"]) == (
        "right",
        "generated",
        "table",
        ["back", "left"],
    )
    assert (line["seed"], line["draw"], line["sample_id"]) == (5, 0, sample_id("table/c", 0))
    assert (line["solver"], line["steps"], line["backend"], line["dtype"]) == ("ddim", 3, "eager", "float32")
    assert line["checkpoint"] == model.checkpoint_hash
    assert line["sha256"] == hashlib.sha256((tmp_path / "out/table/c__right.png").read_bytes()).hexdigest()
    assert list(by_name) == [f"{name}__right.png" for name in ("chair/b", "table/c", "table/d", "table/e")]


def test_torchvision_reads_it(make, tmp_path: Path):
    make(tmp_path / "out")
    folder = ImageFolder(tmp_path / "out")
    assert folder.classes == ["chair", "table"]
    assert len(folder) == 10
    assert folder[0][0].size == (16, 16)


def test_hugging_face_datasets_reads_it(make, tmp_path: Path):
    datasets = pytest.importorskip("datasets")
    make(tmp_path / "out", include_known=True)
    Image.new("RGB", (8, 8)).save(tmp_path / "out" / "contact-sheet.png")
    loaded = datasets.load_dataset(
        "imagefolder", data_dir=str(tmp_path / "out"), data_files="**", cache_dir=str(tmp_path / "cache")
    )
    assert list(loaded) == ["train"]
    rows = loaded["train"]
    assert len(rows) == 16
    assert {row["view"] for row in rows} == set(VIEWS)
    assert set(rows["label"]) == {"chair", "table"}
    assert rows[0]["image"].size == (16, 16)
    ids = {(line["source"], line["view"]): line["sample_id"] for line in lines_of(tmp_path / "out")}
    assert {(row["source"], row["view"]): row["sample_id"] for row in rows} == ids


def test_it_reads_back_as_objects(make, tmp_path: Path):
    make(tmp_path / "out", include_known=True, draws=2)
    source = open_source(tmp_path / "out")
    assert {record.id for record in source.records} >= {"chair/a-0", "chair/a-1", "table/e-1"}
    assert all(set(record.views) == set(VIEWS) for record in source.records)
    index = next(i for i, record in enumerate(source.records) if record.id == "chair/a-1")
    assert source.kind(index, "front") == "real" and source.kind(index, "left") == "generated"


def test_unlabeled_images(make, tmp_path: Path, tiny_image):
    (tmp_path / "flat").mkdir()
    tiny_image(1).save(tmp_path / "flat" / "a__front.png")
    make(tmp_path / "out", path=tmp_path / "flat")
    assert sorted(pictures(tmp_path / "out")) == [f"unlabeled/a__{view}.png" for view in ("back", "left", "right")]
    assert {line["label"] for line in lines_of(tmp_path / "out")} == {None}
    assert [record.class_name for record in open_source(tmp_path / "out").records] == [""]


@pytest.mark.parametrize("stop", [1, 2, 3])
def test_a_run_that_was_stopped_ends_as_if_it_had_not_been(make, tmp_path: Path, stop: int):
    make(tmp_path / "whole", batch=1, shard_size=1)
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path / "cut", batch=1, shard_size=1, stop=stop)
    assert not (tmp_path / "cut" / "metadata.jsonl").exists()
    report = make(tmp_path / "cut", batch=1, shard_size=1)
    assert tree(tmp_path / "cut") == tree(tmp_path / "whole")
    assert report.views == 10


class TestBadImages:
    @pytest.fixture
    def images(self, tmp_path: Path, tiny_image) -> Path:
        folder = tmp_path / "images" / "chair"
        folder.mkdir(parents=True)
        for number, name in enumerate("abcd"):
            tiny_image(number).save(folder / f"{name}__front.png")
        return folder

    def test_unreadable_files_are_left_out_and_listed(self, make, images: Path, tmp_path: Path):
        (images / "b__front.png").write_bytes((images / "b__front.png").read_bytes()[:100])
        (images / "d__front.png").write_bytes(b"not an image")
        report = make(tmp_path / "out", path=images.parent, batch=3, draws=2)
        assert [entry.file for entry in report.skipped] == ["chair/b__front.png", "chair/d__front.png"]
        assert "not an image" in report.skipped[1].reason
        assert {line["source"] for line in lines_of(tmp_path / "out")} == {"chair/a", "chair/c"}
        stored = json.loads((tmp_path / "out" / "report.json").read_text())
        assert stored["skipped"] == [asdict(entry) for entry in report.skipped]
        assert (stored["objects"], stored["views_generated"], stored["skipped_files"]) == (2, 12, 2)

    def test_the_report_is_the_same_after_a_stop(self, make, images: Path, tmp_path: Path):
        (images / "a__front.png").write_bytes(b"")
        Image.open(images / "b__front.png").convert("L").save(images / "b__front.png")
        make(tmp_path / "whole", path=images.parent, batch=1, shard_size=1)
        with pytest.raises(KeyboardInterrupt):
            make(tmp_path / "cut", path=images.parent, batch=1, shard_size=1, stop=3)
        make(tmp_path / "cut", path=images.parent, batch=1, shard_size=1)
        assert tree(tmp_path / "cut") == tree(tmp_path / "whole")

    def test_an_object_with_one_of_two_known_views_unreadable_is_left_out(self, make, data, tmp_path, write_objects):
        root = write_objects(tmp_path / "pairs", {"chair/a": ("front", "left"), "chair/b": ("front", "left")})
        (root / "chair/a/left.png").write_bytes(b"")
        make(tmp_path / "out", path=root)
        assert {line["source"] for line in lines_of(tmp_path / "out")} == {"chair/b"}

    def test_conversions_are_counted_once_per_image(self, make, images: Path, tmp_path: Path, tiny_image):
        tiny_image(9, size=20).convert("L").save(images / "a__front.png")
        tiny_image(8, size=20).save(images / "b__front.png")
        report = make(tmp_path / "out", path=images.parent, batch=1, draws=3)
        assert report.notes == {
            "grayscale converted to RGB": (1, "chair/a__front.png"),
            "resized to 16 x 16": (2, "chair/a__front.png"),
        }

    def test_strict_refuses_another_size(self, make, images: Path, tmp_path: Path, tiny_image):
        tiny_image(9, size=20).save(images / "a__front.png")
        with pytest.raises(InputError, match=r"a__front.png: 20 x 20 pixels instead of 16 x 16"):
            make(tmp_path / "out", path=images.parent, strict=True)
        assert not (tmp_path / "out").exists()


def test_the_model_gets_the_known_views_and_nothing_else(make, model, data, tmp_path: Path):
    """The pipeline's pictures are those of the model itself, called with known views only."""
    make(tmp_path / "out", given=("front",), batch=8)
    images = torch.zeros(3, 4, 3, 16, 16, dtype=torch.uint8)
    for place, name in enumerate(("chair/a", "table/c", "table/d")):
        pixels = np.array(Image.open(data / name / "front.png"))
        images[place, 0] = torch.from_numpy(pixels).permute(2, 0, 1)
    known = torch.tensor([[True, False, False, False]]).expand(3, -1)
    ids = torch.tensor([sample_id(name) for name in ("chair/a", "table/c", "table/d")])
    expected = model.generate(images, known, sample_ids=ids)
    written = pictures(tmp_path / "out")
    for place, name in enumerate(("chair/a", "table/c", "table/d")):
        for number, view in enumerate(VIEWS[1:], 1):
            assert np.array_equal(written[f"{name}__{view}.png"], expected[place, number].permute(1, 2, 0).numpy())
