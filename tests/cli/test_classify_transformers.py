"""``dimvida classify`` with view transformers, which know their views by cameras or by names."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from helpers.networks import randomised
from helpers.objects import VIEWS, write_shades

from dimvida.models.checkpoint import load_checkpoint, save_checkpoint

QUICK = (
    *("--preset", "tiny", "--classifiers", "mobilenet-v3-small", "--seeds", "1", "--set", "validation=0.25"),
    *("--set", "classifier_stage.steps=2", "--set", "classifier_stage.batch=4"),
)


@pytest.mark.parametrize("knows", ["cameras", "names"])
def test_a_view_transformer_serves_as_well(dimvida, tmp_path: Path, camera_checkpoint: Path, knows: str):
    if knows == "names":
        checkpoint = load_checkpoint(camera_checkpoint)
        checkpoint.config = dataclasses.replace(checkpoint.config, cameras=None)
        checkpoint.score = randomised(checkpoint.config.build()[1])
        camera_checkpoint = tmp_path / "named"
        save_checkpoint(camera_checkpoint, checkpoint)
    data, out = write_shades(tmp_path / "shades"), tmp_path / "study"
    assert dimvida("classify", "--data", data, "--out", out, "--checkpoint", camera_checkpoint, *QUICK).code == 0
    found = json.loads((out / "classification.json").read_text())
    assert found["view_names"] == list(VIEWS) and found["coherence"]["count"] == 18
    cells = {(cell["train"], cell["test"]) for cell in found["cells"]}
    assert cells == {("c", "e"), ("c", "ea"), ("ca", "e"), ("ca", "ea")}
    assert all([sum(row) for row in cell["confusion"]] == [3, 3] for cell in found["cells"])
