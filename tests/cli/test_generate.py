"""``dimvida generate`` on small data with a model of random weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.objects import lines_of, tree
from PIL import Image

from dimvida.sampling.trajectory import sample_id_tensor


@pytest.fixture
def generate(dimvida, tiny_checkpoint: Path):
    """Calls the command with the tiny checkpoint."""

    def call(input_: object, output: object, *options: object):
        return dimvida("generate", "--data", input_, "--out", output, "--checkpoint", tiny_checkpoint, *options)

    return call


def test_single_images_with_the_view_as_an_option(generate, fronts: Path, tmp_path: Path):
    result = generate(fronts, tmp_path / "out", "--view", "front")
    assert result.code == 0, result.err
    assert f"done: 12 views of 4 objects in {tmp_path / 'out'}" in result.out
    assert "generating: 12/12 views" in result.err
    assert {line["view"] for line in lines_of(tmp_path / "out")} == {"right", "back", "left"}
    assert (tmp_path / "out" / "table" / "d__left.png").is_file()


def test_python_makes_of_a_picture_what_the_command_makes_of_its_file(generate, model, tmp_path: Path):
    folder, numbers = tmp_path / "in" / "chair", np.random.default_rng(0)
    folder.mkdir(parents=True)
    exif = Image.Exif()
    exif[0x0112] = 8
    pictures = {
        "same.png": (numbers.integers(0, 256, (16, 16, 3), np.uint8), {}),
        "large.jpg": (numbers.integers(0, 256, (70, 41, 3), np.uint8), {"exif": exif}),
        "alpha.png": (numbers.integers(0, 256, (9, 31, 4), np.uint8), {}),
        "deep.png": (numbers.integers(0, 65536, (40, 40), np.uint16), {}),
        "gray.webp": (numbers.integers(0, 256, (33, 20), np.uint8), {"lossless": True}),
    }
    for name, (pixels, options) in pictures.items():
        Image.fromarray(pixels).save(folder / name, **options)
    assert generate(tmp_path / "in", tmp_path / "out", "--view", "front", "--batch", 1, "--seed", 3).code == 0
    for name in pictures:
        stem = Path(name).stem
        ids = sample_id_tensor([f"chair/{stem}"])
        for picture in (Image.open(folder / name), np.asarray(Image.open(folder / name))):
            if isinstance(picture, np.ndarray) and name == "large.jpg":
                continue  # an array is upright as it is
            made = model(picture, "front", seed=3, sample_ids=ids)[0]
            for place, view in enumerate(model.view_names[1:], 1):
                written = np.asarray(Image.open(tmp_path / "out" / "chair" / f"{stem}__{view}.png"))
                assert np.array_equal(written, made[place].movedim(0, -1).numpy()), (name, view)


def test_any_subset_to_any_subset(generate, objects: Path, tmp_path: Path):
    assert generate(objects, tmp_path / "out", "--view", "front,back", "--target", "left").code == 0
    assert [(line["source"], line["view"], line["known"]) for line in lines_of(tmp_path / "out")] == [
        (name, "left", ["front", "back"]) for name in ("chair/a", "chair/b", "table/c")
    ]


def test_a_repeated_command_leaves_a_finished_output_alone(generate, fronts: Path, tmp_path: Path):
    generate(fronts, tmp_path / "out", "--view", "front")
    before = tree(tmp_path / "out")
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")}
    result = generate(fronts, tmp_path / "out", "--view", "front")
    assert result.code == 0
    assert "finished before: 12 views of 4 objects" in result.out
    assert tree(tmp_path / "out") == before
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")} == times


def test_the_same_command_gives_the_same_bytes_elsewhere(generate, fronts: Path, tmp_path: Path):
    for name in ("one", "two"):
        assert generate(fronts, tmp_path / name, "--view", "front", "--batch", 3).code == 0
    assert tree(tmp_path / "one") == tree(tmp_path / "two")
    for name, data in tree(tmp_path / "one").items():
        assert str(tmp_path).encode() not in data, name


def test_the_seed_changes_the_pictures(generate, fronts: Path, tmp_path: Path):
    for seed in (0, 1):
        generate(fronts, tmp_path / str(seed), "--view", "front", "--seed", seed)
    pictures = [{n: d for n, d in tree(tmp_path / str(seed)).items() if n.endswith(".png")} for seed in (0, 1)]
    assert pictures[0].keys() == pictures[1].keys()
    assert all(pictures[0][name] != pictures[1][name] for name in pictures[0])


def test_draws_split_and_known_views(generate, tmp_path: Path, write_objects):
    views = ("front", "left")
    root = write_objects(tmp_path / "data", {"train/chair/a": views, "test/chair/a": views, "test/chair/b": views})
    result = generate(root, tmp_path / "out", "--split", "test", "--samples-per-view", 2, "--include-known")
    assert result.code == 0, result.err
    assert "8 views of 2 objects" in result.out
    names = {line["file_name"] for line in lines_of(tmp_path / "out")}
    assert names == {
        f"chair/{n}-{k}__{v}.png" for n in "ab" for k in (0, 1) for v in ("front", "right", "back", "left")
    }


def test_some_classes_and_the_first_objects_belong_to_the_configuration(generate, fronts: Path, tmp_path: Path):
    asked = ("--view", "front", "--classes", "chair")
    assert generate(fronts, tmp_path / "out", *asked).code == 0
    assert {line["label"] for line in lines_of(tmp_path / "out")} == {"chair"}
    chairs = list(dict.fromkeys(line["source"] for line in lines_of(tmp_path / "out")))
    assert len(chairs) == 2
    assert generate(fronts, tmp_path / "first", *asked, "--limit", 1).code == 0
    assert list(dict.fromkeys(line["source"] for line in lines_of(tmp_path / "first"))) == chairs[:1]
    before = tree(tmp_path / "out")
    result = generate(fronts, tmp_path / "out", *asked, "--limit", 1)
    assert result.code == 2 and "another configuration (objects was 2, is 1)" in result.err
    result = generate(fronts, tmp_path / "out", "--view", "front", "--classes", "table")
    assert result.code == 2 and "another configuration" in result.err
    assert tree(tmp_path / "out") == before


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (("--limit", 0), "--limit"),
        (("--limit", -3), "--limit"),
        (("--classes", "chairs"), "did you mean chair?"),
        (("--classes", ""), "--classes '': give names separated by commas"),
        (("--classes", "chair,chair"), "--classes chair,chair: a name is there twice"),
    ],
)
def test_odd_limits_and_classes(generate, fronts: Path, tmp_path: Path, asked: tuple, message: str):
    result = generate(fronts, tmp_path / "out", "--view", "front", *asked)
    assert result.code == 2 and message in result.err
    assert not (tmp_path / "out").exists()


def test_another_configuration_needs_overwrite(generate, fronts: Path, tmp_path: Path):
    generate(fronts, tmp_path / "out", "--view", "front")
    before = tree(tmp_path / "out")
    refused = generate(fronts, tmp_path / "out", "--view", "front", "--steps", 2)
    assert "steps was 4, is 2" in refused.refusal() and "--overwrite" in refused.refusal()
    assert tree(tmp_path / "out") == before
    assert generate(fronts, tmp_path / "out", "--view", "back", "--overwrite").code == 0
    assert {line["known"][0] for line in lines_of(tmp_path / "out")} == {"back"}
    assert not (tmp_path / "out" / "chair" / "a__back.png").exists()


class TestSheet:
    def colours(self, path: Path) -> set[tuple[int, ...]]:
        return {tuple(colour) for colour in np.asarray(Image.open(path).convert("RGB")).reshape(-1, 3)}

    GIVEN, TRUE = (0xD9, 0x5F, 0x02), (0x2B, 0x6C, 0xB0)

    def test_views_held_back_are_the_truth(self, generate, objects: Path, tmp_path: Path):
        result = generate(objects, tmp_path / "out", "--view", "front", "--sheet", tmp_path / "new" / "sheet.png")
        assert result.code == 0, result.err
        assert {self.GIVEN, self.TRUE} <= self.colours(tmp_path / "new" / "sheet.png")

    def test_truth_from_elsewhere_and_without(self, generate, objects: Path, fronts: Path, tmp_path: Path):
        generate(fronts, tmp_path / "out", "--view", "front", "--sheet", tmp_path / "without.png")
        again = generate(
            fronts, tmp_path / "out", "--view", "front", "--sheet", tmp_path / "with.png", "--truth", objects
        )
        assert "finished before" in again.out and "contact sheet" in again.out
        without, with_truth = self.colours(tmp_path / "without.png"), self.colours(tmp_path / "with.png")
        assert self.GIVEN in without and self.TRUE not in without
        assert {self.GIVEN, self.TRUE} <= with_truth

    def test_it_must_not_become_a_part_of_the_input(self, generate, fronts: Path, tmp_path: Path):
        result = generate(fronts, tmp_path / "out", "--view", "front", "--sheet", fronts / "sheet.png")
        assert result.code == 2 and "--sheet" in result.err and "is inside the input" in result.err
        assert not (tmp_path / "out").exists()

    def test_rows(self, generate, fronts: Path, tmp_path: Path):
        heights = []
        for rows in (1, 3, 99):
            generate(fronts, tmp_path / "out", "--view", "front", "--sheet", tmp_path / "s.png", "--sheet-rows", rows)
            heights.append(Image.open(tmp_path / "s.png").height)
        assert heights[1] - heights[0] == 2 * (heights[2] - heights[1])

    def test_objects_that_could_not_be_read_are_not_on_it(self, generate, fronts: Path, tmp_path: Path):
        options = ("--view", "front", "--skip-bad", "--sheet", tmp_path / "s.png")
        generate(fronts, tmp_path / "whole", *options)
        height = Image.open(tmp_path / "s.png").height
        (fronts / "chair" / "a.png").write_bytes(b"")
        assert generate(fronts, tmp_path / "out", *options).code == 0
        assert Image.open(tmp_path / "s.png").height < height


class TestSample:
    """The bundled sample, in the tiny checkpoint's small size."""

    def test_it_comes_with_its_truth(self, generate, tmp_path: Path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        result = generate("sample", "out", "--sheet", "out/contact-sheet.png")
        assert result.code == 0, result.err
        written = lines_of(tmp_path / "out")
        assert {line["view"] for line in written} == {"right", "back", "left"}
        assert len({line["label"] for line in written}) == 13
        assert TestSheet.TRUE in TestSheet().colours(tmp_path / "out" / "contact-sheet.png")

    @pytest.mark.parametrize("given", ["sample", "./sample"])
    def test_a_folder_of_that_name_is_what_it_means(self, generate, fronts, tmp_path, monkeypatch, given):
        monkeypatch.chdir(tmp_path)
        fronts.rename(tmp_path / "sample")
        assert generate(given, tmp_path / "out", "--view", "front").code == 0
        assert len(lines_of(tmp_path / "out")) == 12

    def test_an_installation_without_it(self, generate, tmp_path: Path, monkeypatch):
        monkeypatch.setattr("dimvida.data.sample._FOLDER", tmp_path / "nowhere")
        assert "sample: this installation lacks" in generate("sample", tmp_path / "out").refusal()
