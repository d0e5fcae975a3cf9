"""The scripts that make the checkpoint in the package and the tables of its page."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType

import pytest
import torch
from helpers.results import evaluation, write, write_solvers

from dimvida.errors import InputError
from dimvida.evaluation.objects import views_by_angle
from dimvida.models.checkpoint import load_checkpoint
from dimvida.sampling.multiview import load

SCRIPTS = Path(__file__).parents[1] / "scripts"


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, SCRIPTS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_bundled_checkpoint_keeps_some_names_and_knows_where_it_was_trained(
    camera_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    arguments = [str(camera_checkpoint), "--views", "back,front", "--steps", "3", "--out", str(tmp_path)]
    assert script("bundle").main(arguments) == 0
    assert "MB, views back, front" in capsys.readouterr().out
    whole, some = load(camera_checkpoint), load(tmp_path)
    assert some.view_names == ("back", "front") and some.config.sampling.steps == 3
    back, front = (whole.cameras[whole.view_names.index(name)] for name in ("back", "front"))
    assert some.cameras == (back, front) and some.trained_cameras == whole.cameras == whole.trained_cameras
    assert views_by_angle(some, [*whole.cameras, (12.5, 30.0)]) == {"trained": [0, 1, 2, 3], "untrained": [4]}
    # The same network: from the same view, asked for the same cameras, the same pictures up to float16.
    front_view = torch.randint(0, 256, (2, 1, 3, 16, 16), dtype=torch.uint8)
    known = torch.tensor([[True, False]] * 2)
    views = torch.cat([front_view, torch.zeros_like(front_view)], 1)
    pictures = [
        model.generate(views, known, cameras=[front, back], seed=1, steps=2, dtype=torch.float32)
        for model in (whole, some)
    ]
    assert (pictures[0].int() - pictures[1].int()).abs().max() <= 4
    assert not torch.equal(pictures[0][:, 1], torch.zeros_like(pictures[0][:, 1]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--views=front,top", "--views top: the checkpoint has no such view"),
        ("--views=front,", "--views '': expected a view or NEW=OLD"),
        ("--views=face=front,=back", "--views '=back': expected a view or NEW=OLD"),
        ("--views=a=b=front,back", "--views 'a=b=front': expected a view or NEW=OLD"),
        ("--views=../face=front,back", "--views: '../face' cannot name a view"),
        ("--views=face=front,other=front", "--views front: is there twice"),
        ("--views=face=front,face=back", "--views face: is there twice"),
        ("--solver=nope", "nope"),
        ("--steps=0", "steps"),
    ],
)
def test_what_no_checkpoint_could_be_made_of_replaces_none(
    camera_checkpoint: Path, tmp_path: Path, options: str, message: str
):
    with pytest.raises(InputError, match=re.escape(message)):
        script("bundle").main([str(camera_checkpoint), options, "--out", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


def test_views_get_new_names(camera_checkpoint: Path, tmp_path: Path):
    views = "--views=face=front, back, port=left"
    assert script("bundle").main([str(camera_checkpoint), views, "--out", str(tmp_path)]) == 0
    whole, some = load(camera_checkpoint), load(tmp_path)
    assert some.view_names == ("face", "back", "port")
    assert some.cameras == tuple(whole.cameras[whole.view_names.index(name)] for name in ("front", "back", "left"))


def test_a_model_of_named_views_keeps_all_its_names(tiny_checkpoint: Path, tmp_path: Path):
    with pytest.raises(InputError, match="knows its views by their names"):
        script("bundle").main([str(tiny_checkpoint), "--views", "front", "--out", str(tmp_path / "out")])
    assert script("bundle").main([str(tiny_checkpoint), "--out", str(tmp_path / "out")]) == 0
    assert load_checkpoint(tmp_path / "out").config == load_checkpoint(tiny_checkpoint).config


def test_where_a_model_was_trained_changes_no_digest_and_is_checked(camera_checkpoint: Path, tmp_path: Path):
    script("bundle").main([str(camera_checkpoint), "--out", str(tmp_path)])
    digest, path = load_checkpoint(tmp_path).digest, tmp_path / "config.json"
    values = json.loads(path.read_text())
    assert "trained_cameras" not in values  # they are those of the names
    path.write_text(json.dumps(values | {"trained_cameras": [[0.0, 30.0], [7.5, 30.0]]}, indent=2))
    assert load_checkpoint(tmp_path).digest == digest
    assert load(tmp_path).trained_cameras == ((0.0, 30.0), (7.5, 30.0))
    path.write_text(json.dumps(values | {"trained_cameras": [[0.0, 95.0]]}))
    with pytest.raises(InputError, match="an elevation between -90 and 90"):
        load_checkpoint(tmp_path)
    del values["cameras"]
    path.write_text(json.dumps(values | {"trained_cameras": [[0.0, 30.0]]}))
    with pytest.raises(InputError, match="trained_cameras: the named views have no cameras"):
        load_checkpoint(tmp_path)


def test_tables_of_the_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    files = (
        write(tmp_path, "evaluation.json", evaluation()) / "evaluation.json",
        write_solvers(tmp_path) / "solvers.json",
    )
    assert script("checkpoint_tables").main([str(file) for file in files]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "| known views | views scored | PSNR, dB | SSIM | colour, levels |",
        "|---|---|---|---|---|",
        "| 1 | 312 | 20.12 ± 0.30 | 0.750 ± 0.010 | 28.1 ± 0.5 |",
        "| 2 | 312 | 22.25 ± 0.30 | 0.800 ± 0.010 | 20.4 ± 0.5 |",
        "| 3 | 312 | 24.38 ± 0.30 | 0.850 ± 0.010 | 12.8 ± 0.5 |",
        "| reconstruction | 312 | 27.50 ± 0.20 | 0.950 ± 0.010 |  |",
        "",
        "| solver, evaluations | 1 known | 2 known |",
        "|---|---|---|",
        "| ddim, 5 | 15.0 | 16.0 |",
        "| ddim, 10 | 18.0 | 19.0 |",
        "| ddim, 50 | 20.4 | 21.4 |",
        "| repaint, 5 | 15.3 | 16.3 |",
        "| repaint, 10 | 18.3 | 19.3 |",
        "| repaint, 50 | 20.7 | 21.7 |",
    ]
