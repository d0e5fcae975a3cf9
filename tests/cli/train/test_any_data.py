"""``dimvida train``, ``generate`` and ``evaluate`` on data of every kind: sizes, colours, numbers of views, classes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from helpers.commands import command
from helpers.networks import options
from PIL import Image

from dimvida.data.opening import open_source
from dimvida.sampling.multiview import load

from .conftest import description, train

SHORTEST = (
    "autoencoder_stage.steps=2",
    "autoencoder_stage.batch=8",
    "diffusion_stage.steps=2",
    "diffusion_stage.batch=8",
    "sampling.steps=2",
)


def write_objects(root: Path, names: list[str], views: list[str], size: int = 16, mode: str = "RGB") -> Path:
    """``<root>/<name>/<view>.png`` of random pixels."""
    random = np.random.default_rng(0)
    for name in names:
        (root / name).mkdir(parents=True)
        for view in views:
            pixels = random.integers(0, 256, (size, size, 3), np.uint8)
            Image.fromarray(pixels).convert(mode).save(root / name / f"{view}.png")
    return root


def names(objects: int) -> list[str]:
    return [f"thing/{number}" for number in range(objects)]


def trained(data: Path, out: Path, *settings: str):
    result = train(data, out, *options([*SHORTEST, *settings]))
    assert result.code == 0, result.err
    return result


def generated(data: Path, run: Path, out: Path, *arguments: str | Path) -> Path:
    result = command("generate", "--data", data, "--out", out, "--checkpoint", run, *arguments)
    assert result.code == 0, result.err
    return out


QUICK = ("--metrics", "psnr,ssim")  # the others are for networks to judge


def evaluated(data: Path, run: Path, *arguments: str | Path) -> dict:
    scores = run / "scores.json"
    result = command(
        "evaluate", "--data", data, "--checkpoint", run, "--known", "1", "--json", scores, *QUICK, *arguments
    )
    assert result.code == 0, result.err
    return json.loads(scores.read_text())


@pytest.mark.parametrize(("kind", "size"), [("grid", 32), ("grid", 128), ("pooling", 128)])
def test_image_sizes(tmp_path: Path, kind: str, size: int):
    data = write_objects(tmp_path / "data", names(4), ["front", "back"], size=64)
    settings = [f"autoencoder.kind={kind}", f"autoencoder.image_size={size}"]
    settings += ["autoencoder.latent_dim=0"] if kind == "grid" else []  # which follows
    result = trained(data, tmp_path / "run", *settings)
    assert f"resized to {size} x {size}: 8 images" in result.out
    out = generated(data, tmp_path / "run", tmp_path / "out", "--view", "front", "--sheet", tmp_path / "sheet.png")
    pictures = list(out.glob("thing/*.png"))
    assert len(pictures) == 4 and {Image.open(path).size for path in pictures} == {(size, size)}
    assert Image.open(tmp_path / "sheet.png").width > 3 * 128
    scores = evaluated(data, tmp_path / "run")
    assert 0 < scores["known"][0]["scores"]["psnr"]["mean"] < 30
    assert -1 < scores["reconstruction"]["scores"]["ssim"]["mean"] < 1


@pytest.mark.parametrize("views", [2, 3, 12, 24])
def test_numbers_of_views(tmp_path: Path, views: int):
    view_names = [f"view{view:02d}" for view in range(views)]
    data = write_objects(tmp_path / "data", names(4), view_names)
    for view in view_names[1::2]:  # an object that lacks half of its views
        (data / "thing" / "0" / f"{view}.png").unlink()
    trained(data, tmp_path / "run", "diffusion_stage.mirror=true")
    assert load(tmp_path / "run").view_names == tuple(view_names)
    assert description(tmp_path / "run")["data"]["absent_views"] == views // 2
    arguments = ("--view", "view00", "--sheet", tmp_path / "sheet.png", "--sheet-rows", "2")
    out = generated(data, tmp_path / "run", tmp_path / "out", *arguments)
    assert len(list(out.glob("thing/*.png"))) == 4 * (views - 1)
    assert Image.open(tmp_path / "sheet.png").width < 2400
    completed = generated(data, tmp_path / "run", tmp_path / "completed")  # the one object that is not complete
    assert len(list(completed.glob("thing/*.png"))) == views // 2
    scores = evaluated(data, tmp_path / "run", "--limit", "1")["known"]
    assert [(row["known"], row["subsets"]) for row in scores] == [(1, views)]


@pytest.fixture(scope="module")
def gray(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Coloured data, and a model of gray images that was trained on them."""
    root = tmp_path_factory.mktemp("gray")
    data = write_objects(root / "data", names(4), ["front", "back"])
    settings = ("autoencoder.channels=1", "autoencoder_stage.chroma_weight=4.0")
    result = trained(data, root / "run", *settings, "autoencoder_stage.augment=trivial-augment-wide")
    assert "note: colour converted to grayscale: 8 images" in result.out
    return data, root / "run"


@pytest.mark.parametrize("form", ["imagefolder", "webdataset", "npy"])
def test_gray_images(gray: tuple[Path, Path], tmp_path: Path, form: str):
    data, run = gray
    assert load(run).channels == 1
    sheet = tmp_path / "sheet.png"
    arguments = ("--view", "front", "--include-known", "--format", form, "--sheet", sheet)
    out = generated(data, run, tmp_path / "out", *arguments)
    if form == "npy":
        assert np.load(out / "shard-000000.npy").shape == (8, 16, 16, 1)
    if form == "imagefolder":
        assert {Image.open(path).mode for path in out.glob("thing/*.png")} == {"L"}
    source, truth = open_source(out), open_source(data)
    assert len(source) == 4
    for index in range(4):
        image = source.read_view(index, "front")
        assert image.note == "grayscale converted to RGB"
        expected = Image.fromarray(truth.read_view(index, "front").pixels).convert("L")
        assert np.array_equal(image.pixels[..., 0], expected)
    pixels = np.asarray(Image.open(sheet)).astype(int)
    front = pixels[60:180, 100:220]  # the first picture, in a coloured frame
    assert front.shape == (120, 120, 3) and np.unique(front).size > 20
    assert command("generate", "--verify", out).code == 0


def test_gray_images_are_evaluated(gray: tuple[Path, Path]):
    data, run = gray
    scores = evaluated(data, run, "--out", run / "evaluation")
    assert scores["known"][0]["scores"]["psnr"]["count"] == 8
    assert Image.open(run / "evaluation" / "sheets" / "worst.png").width > 128


def test_images_stored_in_gray_are_read_as_they_are(gray: tuple[Path, Path], tmp_path: Path):
    data = write_objects(tmp_path / "data", names(4), ["front", "back"], mode="L")
    result = trained(data, tmp_path / "run", "autoencoder.channels=1")
    assert "note:" not in result.out
    result = trained(data, tmp_path / "rgb")
    assert "note: grayscale converted to RGB: 8 images" in result.out
    assert load(tmp_path / "rgb").channels == 3


def test_the_preset_small_says_what_gray_images_need(tmp_path: Path):
    data = write_objects(tmp_path / "data", names(4), ["front", "back"])
    arguments = ("--preset", "small", "--set", "autoencoder.channels=1")
    line = command("train", "--data", data, "--out", tmp_path / "run", *arguments).refusal()
    assert "--set autoencoder_stage.recolour=false --set diffusion_stage.recolour=false" in line


def test_objects_without_classes(tmp_path: Path):
    # <object>__<view>.png in one folder, as generate writes data without classes, too.
    data = tmp_path / "data"
    for path in sorted(write_objects(tmp_path / "source", names(5), ["left", "front"]).glob("thing/*/*.png")):
        data.mkdir(exist_ok=True)
        path.rename(data / f"{path.parent.name}__{path.stem}.png")
    trained(data, tmp_path / "run")
    model = load(tmp_path / "run")
    assert (model.classes, model.view_names) == ((), ("front", "left"))
    out = generated(data, tmp_path / "run", tmp_path / "out", "--view", "left")
    assert len(list(out.glob("**/*__front.png"))) == 5
    assert evaluated(data, tmp_path / "run")["objects"] == 5


def test_class_names_of_any_kind(tmp_path: Path):
    classes = ["Stuhl", "椅子", "a b", "0"]
    things = [f"train/{name}/{number}" for name in classes for number in range(2)]
    data = write_objects(tmp_path / "data", things, ["front", "back"])
    trained(data, tmp_path / "run")
    assert load(tmp_path / "run").classes == tuple(sorted(classes))
    out = generated(data, tmp_path / "run", tmp_path / "out", "--view", "front")
    assert sorted(open_source(out).classes) == sorted(classes)
