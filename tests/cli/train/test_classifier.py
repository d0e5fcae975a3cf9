"""``dimvida train --stage classifier``."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from helpers.commands import Result, command
from helpers.networks import curve
from helpers.objects import SIZE, write_shades

from dimvida.models.classifier_checkpoint import load_classifier

QUICK = ("autoencoder.image_size=16", "classifier_stage.steps=4", "classifier_stage.batch=4", "validation=0.2")


@pytest.fixture
def shades(tmp_path: Path) -> Path:
    """Five dark and five light objects of the split ``train``, two of ``test``."""
    return write_shades(tmp_path / "shades", train=10, test=2)


def train(data: Path, out: Path, *arguments: str) -> Result:
    settings = [part for setting in QUICK for part in ("--set", setting)]
    start = ["train", "--data", data, "--out", out, "--preset", "tiny", "--stage", "classifier"]
    return command(*start, "--classifier", "mobilenet-v3-small", *settings, *arguments)


def test_it_writes_a_classifier_that_says_what_it_is(shades: Path, tmp_path: Path):
    out = tmp_path / "run"
    result = train(shades, out)
    assert (result.code, result.errors) == (0, [])
    assert f"classifier: {out / 'classifier'} (" in result.out and "of the 8 views of held-out objects" in result.out
    classifier = load_classifier(out)
    assert classifier.classes == ("dark", "light")
    assert classifier(torch.zeros(1, 3, SIZE, SIZE, dtype=torch.uint8)).shape == (1, 2)
    assert curve(out / "classifier" / "classifier.csv")[-1]["step"] == "4"
    assert train(shades, out).code == 2
    again = train(shades, out, "--resume")
    assert (again.code, again.out.splitlines()[-1]) == (0, result.out.splitlines()[-1])


def test_a_run_of_the_other_stages_may_hold_one(shades: Path, tmp_path: Path):
    out = tmp_path / "run"
    assert train(shades, out).code == 0
    more = ["--set", "autoencoder.image_size=16", "--set", "autoencoder_stage.steps=1", "--stage", "autoencoder"]
    result = command("train", "--data", shades, "--out", out, "--preset", "tiny", *more)
    assert (result.code, result.errors) == (0, [])
    assert load_classifier(out).classes == ("dark", "light")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--classifier", "vgg"), "choose from resnet18, mobilenet-v3-large, mobilenet-v3-small"),
        (("--weights", "none.pth"), "none.pth"),
        (("--resume",), "holds no classifier to resume"),
        (("--split", "val"), "has no split 'val'"),
        (("--set", "classifier_stage.augment=cutmix"), "choose from none, trivial-augment-wide"),
    ],
)
def test_what_does_not_fit_is_one_line(shades: Path, tmp_path: Path, arguments: tuple[str, ...], message: str):
    assert message in train(shades, tmp_path / "run", *arguments).refusal()
    assert not (tmp_path / "run").exists()
