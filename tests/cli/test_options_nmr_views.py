"""Commands on other views of NMR than the usual four."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from helpers.commands import command
from helpers.networks import TRANSFORMER, options
from helpers.objects import Maker

SYNSETS = ("03001627", "04379243")
EIGHT = ("front", "0003", "right", "0009", "back", "0015", "left", "0021")
SMALL = (
    "autoencoder.image_size=16",
    "autoencoder_stage.steps=2",
    "diffusion_stage.steps=2",
    "autoencoder_stage.batch=4",
)


def views(seed: int) -> np.ndarray:
    """RGBA views of one object, [24, 16, 16, 4]."""
    made = np.random.default_rng(seed).integers(0, 256, (24, 16, 16, 4)).astype(np.uint8)
    made[..., 3] = 255
    return made


def write_dvr(root: Path) -> Path:
    files: dict[str, bytes | str] = {}
    for place, synset in enumerate(SYNSETS):
        for split, names in (("train", ("a", "b", "c")), ("test", ("d",))):
            files[f"{synset}/softras_{split}.lst"] = "".join(f"{name}\n" for name in names)
            for name in names:
                pixels = views(10 * place + ord(name))
                files |= {f"{synset}/{name}/image/{i:04d}.png": Maker.encode(pixels[i]) for i in range(24)}
    return Maker.folder(root, files)


def write_softras(root: Path) -> Path:
    root.mkdir()
    for place, synset in enumerate(SYNSETS):
        for split, names in (("train", "abc"), ("test", "d")):
            objects = np.stack([views(10 * place + ord(name)) for name in names])
            np.savez(root / f"{synset}_{split}_images.npz", objects.transpose(0, 1, 4, 2, 3))
    return root


@pytest.fixture(params=[write_dvr, write_softras])
def nmr(request, tmp_path: Path) -> Path:
    return request.param(tmp_path / "nmr")


def test_trained_on_8_of_24_and_evaluated_on_all(nmr: Path, tmp_path: Path):
    """Angles that were trained are told from those that were not; a resumed training knows its views."""
    run = tmp_path / "run"
    asked = ["train", "--data", nmr, "--preset", "tiny", "--out", run, *options([*TRANSFORMER, *SMALL])]
    result = command(*map(str, [*asked, "--nmr-views", "front,3,6,9,12,0015,left,21", "--stage", "autoencoder"]))
    assert result.code == 0, result.err
    result = command("train", "--resume", "--out", run, "--stage", "diffusion")
    assert result.code == 0, result.err
    config = json.loads((run / "checkpoint" / "config.json").read_text())
    assert tuple(config["view_names"]) == EIGHT and config["cameras"] == [[-45.0 * i, 30.0] for i in range(8)]

    judged = ["evaluate", "--data", nmr, "--checkpoint", run, "--steps", 1, "--known", 1, "--subsets", 3]
    result = command(*map(str, [*judged, "--nmr-views", "all", "--metrics", "psnr", "--json", tmp_path / "e.json"]))
    assert result.code == 0, result.err
    found = json.loads((tmp_path / "e.json").read_text())
    assert len(found["view_names"]) == 24 and found["view_names"][:2] == ["front", "0001"]
    counts = {entry["view"]: entry["scores"]["psnr"]["count"] for entry in found["per_angle"]}
    known = 24 - counts["trained"] // 2  # of the three views that are known in turn, those that were trained
    assert 0 <= known <= 3 and counts == {"trained": 2 * (24 - known), "untrained": 2 * (48 - (3 - known))}


def test_every_command_that_reads_data_takes_them(nmr: Path, camera_checkpoint: Path, tmp_path: Path):
    result = command("data", "inspect", nmr, "--nmr-views", "all", "--rows", "0", "--print-json")
    cameras = json.loads(result.out)["cameras"]
    assert len(cameras) == 24 and cameras["0023"] == {"azimuth": -345.0, "elevation": 30.0}
    asked = ["generate", "--data", nmr, "--checkpoint", camera_checkpoint, "--split", "test", "--azimuths", "-30,-100"]
    asked = [*map(str, asked), "--steps", "1", "--out", str(tmp_path / "out")]
    result = command(*asked, "--nmr-views", "front,2")
    assert result.code == 0 and "done: 2 views of 2 objects" in result.out, result.err  # as view 2 is at -30
    assert "finished before" in command(*asked, "--nmr-views", "front,2").out
    assert str(tmp_path / "out") in command(*asked, "--nmr-views", "front,3").refusal()  # another output


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ("front,top", "error: --nmr-views front,top: give all, or views separated by commas: 0 to 23, or front, right"),
        ("0,24", "error: NMR views 0, 24: choose two or more different ones of 0 to 23"),
        ("front,0", "error: NMR views 0, 0: choose two or more different ones of 0 to 23"),
        ("3", "error: NMR views 3: choose two or more different ones of 0 to 23"),
    ],
)
def test_what_are_no_views_is_one_line(tmp_path: Path, given: str, line: str):
    assert command("data", "inspect", write_softras(tmp_path / "nmr"), "--nmr-views", given).refusal().startswith(line)


def test_another_form_has_none(tmp_path: Path, make):
    data = make.folder(tmp_path / "own", {f"chair/a/{view}.png": make.png() for view in ("front", "left")})
    for asked in (
        ("data", "inspect", data),
        ("evaluate", "--data", data),
        ("train", "--out", tmp_path / "x", "--data", data),
    ):
        line = command(*asked, "--nmr-views", "all").refusal()
        assert line == f"error: {data}: not the NMR data set but folder, so no --nmr-views; its views are all read"
