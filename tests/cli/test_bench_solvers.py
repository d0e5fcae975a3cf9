"""``dimvida bench solvers``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dimvida.bench import quality


@pytest.fixture(autouse=True)
def quick_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    assert quality.REFERENCE_STEPS == 250
    monkeypatch.setattr(quality, "REFERENCE_STEPS", 6)


@pytest.fixture
def solvers(dimvida, tiny_checkpoint: Path):
    def call(data: Path, *options: object):
        return dimvida("bench", "solvers", "--data", data, "--checkpoint", tiny_checkpoint, "--device", "cpu", *options)

    return call


def test_lines_json_and_curves(solvers, objects: Path, tmp_path: Path, narrow_terminal: None):
    file, picture = tmp_path / "solvers.json", tmp_path / "curves.png"
    options = ("--solvers", "ddim,repaint", "--steps", "3,2", "--known", "3,2", "--json", file, "--plot", picture)
    done = solvers(objects, *options)
    assert done.code == 0, done.err
    assert max(map(len, done.out.splitlines())) <= 80
    result = json.loads(file.read_text())
    assert result["benchmark"] == "solvers" and result["schema"] == 1 and result["complete"]
    assert result["settings"]["objects"] == 3
    assert result["settings"]["reference"] == {"solver": "euler-maruyama", "steps": 6, "dtype": "float32"}
    assert [(known["known"], known["sets"], known["views_scored"]) for known in result["known"]] == [
        (3, 4, 3 * 4 * 1),
        (2, 6, 3 * 6 * 2),
    ]
    for known in result["known"]:
        measured = [(point["solver"], point["steps"]) for point in known["points"]]
        assert measured == [("ddim", 3), ("ddim", 2), ("repaint", 3), ("repaint", 2)]
        assert known["reference"]["psnr_reference"] is None and known["another_draw"]["distance_reference"] > 0
        for point in (known["another_draw"], *known["points"]):
            true, reference = point["psnr_true"], point["psnr_reference"]
            assert f"{true['mean']:.2f} ± {true['standard_error']:.2f}" in done.out
            assert f"{reference['mean']:.2f} ± {reference['standard_error']:.2f}" in done.out
    assert picture.read_bytes()[:4] == b"\x89PNG"


def test_the_same_twice_and_another_with_another_seed(solvers, objects: Path, tmp_path: Path):
    points = []
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        options = ("--solvers", "ddim", "--steps", 2, "--known", 3, "--limit", 1, "--seed", seed)
        assert solvers(objects, *options, "--json", tmp_path / name).code == 0
        points.append(json.loads((tmp_path / name).read_text())["known"][0]["points"])
    assert points[0] == points[1] != points[2]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--known", "4"), "--known 4: must be between 1 and 3"),
        (("--known", "one"), "--known one"),
        (("--steps", "0"), "steps must be at least 1"),
        (("--steps", "2,2"), "--steps 2,2"),
        (("--solvers", "heun"), "unknown solver 'heun'"),
        (("--split", "test"), "no split 'test'"),
        (("--dtype", "int8"), "unknown dtype 'int8'"),
        (("--plot", "nowhere/curves.png"), "--plot nowhere/curves.png"),
        (("--json", "nowhere/a.json"), "--json nowhere/a.json"),
    ],
)
def test_bad_options(solvers, objects: Path, options, named):
    done = solvers(objects, *options)
    assert done.code == 2 and done.out == ""
    assert len(done.errors) == 1 and named in done.errors[0]


def test_an_unknown_form_of_picture_loses_no_result(solvers, objects: Path, tmp_path: Path):
    file = tmp_path / "solvers.json"
    options = ("--solvers", "ddim", "--steps", 1, "--known", 3, "--limit", 1, "--json", file)
    assert "--plot" in solvers(objects, *options, "--plot", tmp_path / "curves.xyz").refusal()
    assert json.loads(file.read_text())["complete"]


def test_unreadable_files(solvers, objects: Path):
    (objects / "chair" / "b" / "left.png").write_bytes(b"")
    options = ("--solvers", "ddim", "--steps", 1, "--known", 3)
    done = solvers(objects, *options)
    assert done.code == 1 and "left.png" in done.errors[0]
    assert "ddim" in done.out
    assert solvers(objects, *options, "--skip-bad").code == 0
