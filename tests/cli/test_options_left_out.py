"""What data sets lack is said by every command, and by its exit code unless --skip-bad is given."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers.objects import tree


@pytest.fixture
def broken(objects: Path) -> Path:
    """Objects, and a link to nothing where another one should be."""
    (objects / "table" / "gone").symlink_to("../../annex/none")
    return objects


def generate(dimvida, data: Path, out: Path, checkpoint: Path, *options: object):
    return dimvida(
        "generate", "--input", data, "--output", out, "--view", "front", "--checkpoint", checkpoint, *options
    )


@pytest.mark.parametrize("form", ["imagefolder", "webdataset", "npy"])
def test_generate(dimvida, broken: Path, tmp_path: Path, tiny_checkpoint: Path, form: str):
    out = tmp_path / "out"
    result = generate(dimvida, broken, out, tiny_checkpoint, "--format", form)
    assert result.code == 1
    assert "1 input file that cannot be read: skipped or left out" in result.errors[0]
    assert "left out: 1 file, a link to nothing (first: table/gone)" in result.out
    report = json.loads((out / "report.json").read_text())
    assert report["files_left_out"] == [{"file": "table/gone", "reason": "a link to nothing"}]
    assert (report["objects"], report["skipped_files"]) == (3, 0)
    assert dimvida("generate", "--verify", out).code == 0
    again = generate(dimvida, broken, out, tiny_checkpoint, "--format", form)
    assert (again.code, "finished before" in again.out) == (1, True)
    assert generate(dimvida, broken, out, tiny_checkpoint, "--format", form, "--skip-bad").code == 0


def test_generate_of_whole_data_says_so(dimvida, objects: Path, tmp_path: Path, tiny_checkpoint: Path):
    assert generate(dimvida, objects, tmp_path / "out", tiny_checkpoint).code == 0
    assert json.loads((tmp_path / "out" / "report.json").read_text())["files_left_out"] == []


def test_evaluate(dimvida, broken: Path, tmp_path: Path, tiny_checkpoint: Path):
    options = ["--data", broken, "--checkpoint", tiny_checkpoint, "--steps", 2, "--metrics", "psnr"]
    result = dimvida("evaluate", *options, "--json", tmp_path / "scores.json")
    assert result.code == 1
    assert f"{broken}/table/gone: a link to nothing" in result.errors[0]
    skipped = [{"file": f"{broken}/table/gone", "reason": "a link to nothing"}]
    assert json.loads((tmp_path / "scores.json").read_text())["skipped"] == skipped
    assert dimvida("evaluate", *options, "--skip-bad").code == 0


@pytest.mark.parametrize("command", [["train"], ["train", "--stage", "classifier"], ["evaluate"], ["classify"]])
def test_no_output_inside_the_data(dimvida, objects: Path, command: list[str]):
    before = tree(objects)
    result = dimvida(*command, "--data", objects, "--out", objects / "run")
    assert (result.code, result.errors) == (
        2,
        [f"error: --out {objects}/run: is inside the input {objects}; choose a place beside it"],
    )
    assert tree(objects) == before


def test_no_sheet_inside_the_data(dimvida, objects: Path, tmp_path: Path, tiny_checkpoint: Path):
    before = tree(objects)
    result = generate(dimvida, objects, tmp_path / "out", tiny_checkpoint, "--sheet", objects / "sheet.png")
    assert result.code == 2
    assert result.errors == [
        f"error: --sheet {objects}/sheet.png: is inside the input {objects}; choose a place beside it"
    ]
    assert (tree(objects), (tmp_path / "out").exists()) == (before, False)


def test_a_training_inside_its_data_may_still_be_resumed(dimvida, objects: Path):
    result = dimvida("train", "--data", objects, "--out", objects / "run", "--preset", "tiny", "--resume")
    assert (result.code, "is inside" in result.err) == (2, False)


def test_inspect_and_partition(dimvida, broken: Path, tmp_path: Path):
    result = dimvida("data", "inspect", broken, "--rows", 0, "--json")
    assert result.code == 1
    content = json.loads(result.out)
    assert content["left_out"] == [{"location": f"{broken}/table/gone", "reason": "a link to nothing"}]
    assert content["notes"] == ["left out: 1 file, a link to nothing (first: table/gone)"]
    options = ["data", "partition", broken, "--output", tmp_path / "p.json"]
    assert dimvida(*options).code == 1
    assert len(json.loads((tmp_path / "p.json").read_text())["d"]) > 0
    assert dimvida(*options, "--overwrite", "--skip-bad").code == 0


def test_sample_means_the_objects_in_the_package(dimvida, tmp_path: Path, monkeypatch, write_objects):
    monkeypatch.chdir(tmp_path)
    result = dimvida("data", "inspect", "sample", "--rows", 0, "--json")
    assert (result.code, len(json.loads(result.out)["classes"])) == (0, 13)
    write_objects(tmp_path / "sample", {"chair/mine": ("front", "left")})
    result = dimvida("data", "inspect", "sample", "--rows", 0, "--json")
    assert (result.code, json.loads(result.out)["objects"]) == (0, 1)


def test_the_home_folder(dimvida, tmp_path: Path, monkeypatch, write_objects):
    write_objects(tmp_path / "home" / "views", {"chair/mine": ("front", "left")})
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    result = dimvida("data", "inspect", "~/views", "--rows", 0, "--json")
    assert (result.code, json.loads(result.out)["path"]) == (0, str(tmp_path / "home" / "views"))
    assert dimvida("data", "inspect", "~nobody-of-this-name/views", "--rows", 0).code == 2
