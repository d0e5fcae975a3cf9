"""``dimvida train``, ``generate`` and ``evaluate`` with a grid autoencoder and a view transformer."""

from __future__ import annotations

import json
import random
import signal
from pathlib import Path

import pytest
import torch
from helpers.commands import command
from helpers.networks import TRANSFORMER, curve, options

from dimvida import ops
from dimvida.models.checkpoint import load_checkpoint
from dimvida.sampling.backends import default_dtype

from ..conftest import killed_at_access
from .conftest import assert_equal_runs, forked_ranks

SETTINGS = options([*TRANSFORMER, "sampling.steps=2"])


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, boxes: Path, one_thread: None) -> Path:
    out = tmp_path_factory.mktemp("runs") / "transformer"
    result = command("train", "--data", boxes, "--out", out, "--preset", "tiny", *SETTINGS)
    assert (result.code, result.errors) == (0, [])
    return out


def test_a_dry_run_says_how_much_it_is(boxes: Path, tmp_path: Path):
    result = command("train", "--data", boxes, "--out", tmp_path / "run", "--preset", "tiny", *SETTINGS, "--dry-run")
    assert result.code == 0, result.err
    assert "diffusion: " in result.out and " parameters; 60 steps of 16 objects" in result.out


def test_its_views_are_generated_and_judged(trained: Path, boxes: Path, tmp_path: Path):
    asked = ["--data", boxes, "--checkpoint", trained]
    result = command("generate", *asked, "--out", tmp_path / "out", "--view", "front", "--split", "test")
    assert result.code == 0, result.err
    made = json.loads((tmp_path / "out" / "generation.json").read_text())["configuration"]
    native = ops.native_available()
    dtype = str(default_dtype(torch.device("cpu"))).removeprefix("torch.") if native else "float32"
    assert (made["backend"], made["dtype"]) == ("fused" if native else "eager", dtype)
    assert len(list((tmp_path / "out").rglob("[!.]*.png"))) == 30
    result = command("evaluate", *asked, "--known", "1", "--metrics", "psnr", "--json", tmp_path / "scores.json")
    assert result.code == 0, result.err
    assert json.loads((tmp_path / "scores.json").read_text())["known"][0]["scores"]["psnr"]["mean"] > 0


@pytest.mark.skipif(not ops.native_available(), reason="there is no native module")
def test_the_fused_engine_takes_it_and_is_timed(trained: Path, boxes: Path, tmp_path: Path):
    asked = ["generate", "--data", boxes, "--checkpoint", trained, "--view", "front", "--split", "test"]
    result = command(*asked, "--out", tmp_path / "out", "--backend", "fused", "--dtype", "float32")
    assert result.code == 0, result.err
    made = json.loads((tmp_path / "out" / "generation.json").read_text())["configuration"]
    assert (made["backend"], made["dtype"]) == ("fused", "float32")
    times = tmp_path / "times.json"
    asked = ["bench", "sampling", "--checkpoint", trained, "--batch", "2", "--steps", "2", "--arms", "fused-fp32"]
    result = command(*asked, "--repeats", "1", "--json", times)
    assert result.code == 0, result.err
    written = json.loads(times.read_text())
    assert written["settings"]["kind"] == "transformer"
    assert written["results"][0]["arms"][0]["rms_from_eager_fp32"] < 1e-4


@pytest.mark.slow
def test_a_training_with_muon_that_is_killed_resumes_to_the_same_bytes(boxes: Path, tmp_path: Path):
    """At four random accesses to its files, the last of them in the middle of the diffusion."""
    often = ["autoencoder_stage.save_every=8", "diffusion_stage.save_every=9", "diffusion_stage.keep_every=20"]
    muon = ["diffusion_stage.optimizer=muon", "diffusion_stage.lr_schedule=cooldown"]
    asked = ["train", "--data", str(boxes), "--preset", "tiny", *SETTINGS, *options([*often, *muon]), "--out"]
    whole, cut, log, moments = tmp_path / "whole", tmp_path / "cut", tmp_path / "log", random.Random(0)
    undisturbed = killed_at_access(whole, 0, [*asked, str(whole)], log)
    assert undisturbed.code == 0, undisturbed.err
    accesses = int(undisturbed.out.split()[-1])
    for _ in range(4):
        more = ["--resume"] if (cut / "run.json").exists() else []
        moment = moments.randint(accesses // 8, accesses // 4)
        killed = killed_at_access(cut, moment, [*asked, str(cut), *more], log)
        assert killed.code == -signal.SIGKILL, killed.err
    assert (cut / "diffusion.state").exists()
    assert killed_at_access(cut, 0, [*asked, str(cut), "--resume"], log).code == 0
    assert_equal_runs(cut, whole)


@pytest.mark.slow
def test_two_processes_give_the_losses_of_one(trained: Path, boxes: Path, tmp_path: Path):
    off = options(["autoencoder_stage.autocast=off", "diffusion_stage.autocast=off"])
    short = options(["autoencoder_stage.steps=6", "diffusion_stage.steps=6"])
    every = options(["autoencoder_stage.log_every=1", "diffusion_stage.log_every=1"])
    asked = ["train", "--data", str(boxes), "--preset", "tiny", *SETTINGS, *off, *short, *every, "--out"]
    assert command(*asked, tmp_path / "one").code == 0
    results = [rank.finish() for rank in forked_ranks(2, [*asked, str(tmp_path / "two")], tmp_path / "logs")]
    assert [result.code for result in results] == [0, 0], results
    for stage in ("autoencoder", "diffusion"):
        one, two = (
            [float(row[name]) for row in curve(tmp_path / out / f"{stage}.csv") for name in ("loss", "validation_loss")]
            for out in ("one", "two")
        )
        assert len(one) == 12 and two == pytest.approx(one, rel=1e-4)
    load_checkpoint(tmp_path / "two")
