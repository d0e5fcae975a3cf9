"""The procedural objects and the data set made of them."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from dimvida.cli.app import run
from dimvida.data.cameras import Camera
from dimvida.data.opening import open_source
from dimvida.data.render import Renderer, RenderSettings
from dimvida.data.shapes import CLASSES, ShapesPlan, make_shape
from dimvida.data.shapes.palette import Dice
from dimvida.errors import InputError

pytest.importorskip("trimesh")
pytest.importorskip("embreex")

OBJECTS = 8


@pytest.fixture(scope="module")
def views() -> dict[str, np.ndarray]:
    """Per class uint8 [OBJECTS, 4, 64, 64, 3]."""
    renderer = Renderer(RenderSettings(samples=2))
    return {name: np.stack([renderer.render(make_shape(name, index=k)) for k in range(OBJECTS)]) for name in CLASSES}


def test_classes_are_those_of_nmr() -> None:
    assert CLASSES == (
        "airplane", "bench", "cabinet", "car", "chair", "display", "lamp", "loudspeaker", "rifle", "sofa",
        "table", "telephone", "watercraft",
    )  # fmt: skip


@pytest.mark.parametrize("name", CLASSES)
def test_objects_fill_the_frame_without_leaving_it(views: dict[str, np.ndarray], name: str) -> None:
    covered = (views[name] < 255).any(axis=-1)  # [N, V, H, W]
    fraction = covered.mean(axis=(2, 3))
    assert fraction.min() > 0.01
    assert fraction.max() < 0.7
    assert fraction.max(axis=1).min() > 0.03  # from some side even a rifle shows
    border = np.concatenate([covered[:, :, [0, -1]].reshape(-1), covered[:, :, :, [0, -1]].reshape(-1)])
    assert not border.any()


@pytest.mark.parametrize("name", CLASSES)
def test_objects_of_a_class_differ(views: dict[str, np.ndarray], name: str) -> None:
    fronts = views[name][:, 0].astype(float) / 255
    masks = (views[name] < 255).any(axis=-1)
    for a in range(OBJECTS):
        for b in range(a):
            assert np.abs(fronts[a] - fronts[b]).mean() > 0.002
            assert (masks[a] != masks[b]).any()


@pytest.mark.parametrize("name", [c for c in CLASSES if c not in ("bench", "lamp", "table")])
def test_front_and_back_differ(views: dict[str, np.ndarray], name: str) -> None:
    # Some benches, most lamps and most tables are the same from both sides, as real ones are.
    front, back = views[name][:, 0].astype(float), views[name][:, 2].astype(float)
    assert (np.abs(front - back).mean(axis=(1, 2, 3)) > 1.0).all()


@pytest.mark.parametrize("name", CLASSES)
def test_meshes_are_light_and_coloured_by_part(name: str) -> None:
    for index in range(OBJECTS):
        mesh = make_shape(name, index=index)
        assert 30 < len(mesh.faces) < 5000
        assert np.isfinite(mesh.vertices).all()
    colours = [len(np.unique(make_shape(name, index=k).visual.face_colors, axis=0)) for k in range(OBJECTS)]
    assert max(colours) >= 2


def test_an_object_depends_on_its_key_only() -> None:
    one = make_shape("chair", seed=3, split="test", index=5)
    make_shape("car", seed=3, index=1)
    again = make_shape("chair", seed=3, split="test", index=5)
    np.testing.assert_array_equal(one.vertices, again.vertices)
    np.testing.assert_array_equal(one.visual.face_colors, again.visual.face_colors)
    for other in ({"seed": 4}, {"split": "train"}, {"index": 6}):
        changed = make_shape("chair", **{"seed": 3, "split": "test", "index": 5, **other})
        assert one.vertices.shape != changed.vertices.shape or not np.array_equal(one.vertices, changed.vertices)


def test_dice_are_pinned() -> None:
    dice = Dice("0/train/chair/0")
    drawn = [dice.between(0.0, 1.0) for _ in range(3)]
    assert drawn == [0.3684166463376549, 0.18713981249821798, 0.6518248046873586]
    counts = [Dice(f"{k}").count(2, 4) for k in range(300)]
    assert set(counts) == {2, 3, 4}
    assert {Dice(f"{k}").pick("ab", (1, 0)) for k in range(50)} == {"a"}


def test_unknown_class_is_refused() -> None:
    with pytest.raises(InputError, match="teapot"):
        make_shape("teapot")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": ("teapot",)}, "teapot"),
        ({"classes": ("car", "car")}, "twice"),
        ({"classes": ()}, "empty"),
        ({"train_per_class": 0, "test_per_class": 0}, "empty"),
        ({"train_per_class": -1}, "negative"),
    ],
)
def test_unusable_plans_are_refused(options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        ShapesPlan(**options)


def test_command_gives_the_same_bytes_for_any_number_of_workers(tmp_path: Path) -> None:
    options = ["--classes", "chair,lamp", "--train-per-class", "3", "--test-per-class", "1", "--size", "32"]
    for workers in ("1", "2"):
        output = str(tmp_path / f"{workers}.zip")
        assert run(["data", "shapes", output, *options, "--workers", workers]) == 0
    assert (tmp_path / "1.zip").read_bytes() == (tmp_path / "2.zip").read_bytes()
    source = open_source(tmp_path / "1.zip")
    assert source.view_names == ("front", "right", "back", "left")
    assert source.classes == ("chair", "lamp")
    assert len(source.records) == 8
    assert source.cameras == RenderSettings().cameras and source.cameras["right"] == Camera(-90, 30)


def test_a_larger_set_starts_with_the_same_objects(tmp_path: Path) -> None:
    common = ["--classes", "sofa", "--test-per-class", "0", "--size", "24", "--workers", "1"]
    assert run(["data", "shapes", str(tmp_path / "a.zip"), *common, "--train-per-class", "1"]) == 0
    assert run(["data", "shapes", str(tmp_path / "b.zip"), *common, "--train-per-class", "2"]) == 0
    with zipfile.ZipFile(tmp_path / "a.zip") as a, zipfile.ZipFile(tmp_path / "b.zip") as b:
        first = "train/sofa/sofa_0000/front.png"
        assert a.read(first) == b.read(first)
        assert b.read(first) != b.read("train/sofa/sofa_0001/front.png")


def test_command_refuses_bad_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["data", "shapes", str(tmp_path / "a.zip"), "--classes", "teapot"]) == 2
    assert "teapot" in capsys.readouterr().err
    assert run(["data", "shapes", str(tmp_path / "a.zip"), "--light", "up"]) == 2
    assert "--light" in capsys.readouterr().err
    assert not (tmp_path / "a.zip").exists()
