"""``dimvida train``: what it refuses, in one line and without a trace in the folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.commands import Result, command
from helpers.objects import write_boxes

from .conftest import train


def test_an_existing_run_is_refused_and_kept(finished: tuple[Path, Result], boxes: Path):
    out, _ = finished
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    line = train(boxes, out).refusal()
    assert str(out) in line and "--resume" in line and "--out" in line
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_initial_weights_of_other_sizes_are_refused(finished: tuple[Path, Result], boxes: Path, tmp_path: Path):
    line = train(boxes, tmp_path / "run", "--init", finished[0], "--set", "score.width=64").refusal()
    assert "score" in line and "width=32" in line and "width=64" in line
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--stage", "decoder"], "--stage decoder"),
        (["--preset", "huge"], "'huge'"),
        (["--set", "score.widht=64"], "'widht'"),
        (["--set", "score.width=wide"], "width must be a whole number"),
        (["--set", "nothing"], "--set nothing"),
        (["--set", "sampling.solver=leapfrog"], "'leapfrog'"),
        (["--set", "sampling.steps=0"], "steps"),
        (["--set", "sampling.x0_clip=-1.0"], "x0_clip"),
        (["--set", "autoencoder.channels=2"], "autoencoder.channels 2: images are gray (1) or RGB (3)"),
        (
            ["--set", "autoencoder.channels=1", "--set", "diffusion_stage.recolour=true"],
            "no colours to exchange: --set diffusion_stage.recolour=false",
        ),
        (["--set", "autoencoder.image_size=38"], "image_size 38: the pooling autoencoder needs a multiple of 4"),
        (["--set", "autoencoder.kind=grid", "--set", "autoencoder.base=28"], "base"),
        (["--set", "autoencoder.kind=patch"], "autoencoder: kind 'patch' is of an earlier version"),
        (["--device", "abacus"], "--device abacus"),
        (["--device", "cuda:99"], "--device cuda:99"),
        (["--data", "missing"], "missing: no such file or folder"),
        (["--split", "val"], "no split 'val'"),
        (["--partition", "missing.json"], "missing.json"),
        (["--init", "missing"], "missing"),
        (["--stage", "diffusion"], "--stage autoencoder first"),
        (["--minutes", "-1"], "--minutes"),
        (["--minutes", "soon"], "--minutes"),
        (["--epochs", "3"], "--epochs"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_options_get_one_line_and_leave_nothing(boxes: Path, tmp_path: Path, arguments: list[str], named: str):
    out = tmp_path / "run"
    result = train(boxes, out, *arguments)
    line = result.refusal()
    assert named in line
    assert "Traceback" not in result.err and not result.out
    assert not out.exists()


def test_required_options_are_named(boxes: Path, tmp_path: Path):
    for arguments, named in ((["--out", tmp_path / "run"], "--data"), (["--data", boxes], "--out")):
        line = command("train", *arguments).refusal()
        assert named in line


def write_one_view(folder: Path) -> Path:
    for image in write_boxes(folder.with_name("source"), 3).rglob("front.png"):
        target = folder / "box" / f"{image.parent.name}__front.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        image.replace(target)
    return folder


def write_one_object(folder: Path) -> Path:
    return write_boxes(folder, 1)


def write_nothing(folder: Path) -> Path:
    folder.mkdir()
    return folder


@pytest.mark.parametrize(
    ("write", "named"),
    [
        (write_nothing, "empty"),
        (write_one_view, "at least two views"),
        (write_one_object, "at least 2 objects"),
    ],
)
def test_data_that_cannot_be_trained_on(tmp_path: Path, write: Callable[[Path], Path], named: str):
    line = train(write(tmp_path / "data"), tmp_path / "run").refusal()
    assert named in line
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("out", ["file", "file/run"])
def test_an_output_that_is_a_file_is_refused(boxes: Path, tmp_path: Path, out: str):
    (tmp_path / "file").write_text("mine")
    line = train(boxes, tmp_path / out).refusal()
    assert str(tmp_path / "file") in line
    assert (tmp_path / "file").read_text() == "mine"


def test_resuming_with_other_options_is_refused_and_changes_nothing(
    finished: tuple[Path, Result], boxes: Path, tmp_path: Path
):
    out, _ = finished
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    line = train(boxes, out, "--resume", "--set", "seed=1").refusal()
    assert str(out) in line and "another configuration (seed: 0 -> 1)" in line
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def write_file(folder: Path) -> Path:
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    return folder


@pytest.mark.parametrize(
    ("write", "arguments", "named"),
    [
        (write_file, [], "not a training run"),
        (write_file, ["--resume"], "not a training run"),
        (write_nothing, ["--resume"], "no training to resume"),
        (lambda folder: folder, ["--resume"], "no training to resume"),
    ],
)
def test_folders_that_hold_no_run(
    boxes: Path, tmp_path: Path, write: Callable[[Path], Path], arguments: list[str], named: str
):
    out = write(tmp_path / "run")
    before = sorted(tmp_path.rglob("*"))
    line = train(boxes, out, *arguments).refusal()
    assert str(out) in line and named in line
    assert sorted(tmp_path.rglob("*")) == before
