"""A run lowers both losses, stage by stage, and leaves a model."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
import torch._dynamo
from helpers.networks import curve
from PIL import Image
from safetensors.torch import load_file

from dimvida.errors import InputError
from dimvida.models.checkpoint import load_checkpoint
from dimvida.sampling.multiview import load
from dimvida.training.config import TrainConfig
from dimvida.training.data import TrainingData
from dimvida.training.latents import encoding_dtype

from .conftest import run, with_stage


@pytest.mark.parametrize("stage", ["autoencoder", "diffusion"])
def test_both_losses_fall(finished: Path, stage: str):
    rows = curve(finished / f"{stage}.csv")
    assert float(rows[-1]["loss"]) < 0.7 * float(rows[0]["loss"])
    assert float(rows[-1]["validation_loss"]) < float(rows[0]["validation_loss"])


def test_the_folder_holds_what_it_promises(finished: Path, data: TrainingData):
    assert Image.open(finished / "curves.png").width > 600
    for sheet in ("autoencoder-000060.png", "diffusion-000120.png"):
        assert Image.open(finished / "samples" / sheet).width > 200
    checkpoint = load_checkpoint(finished)
    assert checkpoint.config.provenance["autoencoder"]["steps"] == 60
    account = checkpoint.config.provenance["diffusion"]
    assert (account["steps"], account["batch"]) == (120, 16)
    assert (account["optimizer"], account["lr"], account["lr_schedule"]) == ("adam", 2e-3, "cosine")
    assert checkpoint.config.provenance["data"]["name"] == "boxes"
    inputs = checkpoint.config.inputs
    assert inputs is not None and not inputs.foreign_border(data.images.flatten(0, 1)).any()
    model, views = load(finished), data.images.flatten(0, 1)
    assert inputs.badly_reconstructed(views, model.decode(model.encode(views))).float().mean() < 0.02
    assert inputs.foreign_border(255 - views).all()
    assert str(finished.parent) not in (finished / "checkpoint" / "config.json").read_text()


def test_latents_are_standardised(finished: Path, fast_config: TrainConfig, data: TrainingData):
    model, training = load(finished), slice(len(data.held_out), len(data.held_out) + len(data.images))
    encoded = load_file(finished / "latents.safetensors")["latents"][training].flatten(0, 1)
    latents = (encoded - model.latent_mean) / model.latent_std
    torch.testing.assert_close(latents.mean(0), torch.zeros(8), rtol=0, atol=1e-4)
    torch.testing.assert_close(latents.std(0, correction=0), torch.ones(8), rtol=0, atol=1e-4)
    # The layers, in float32, agree with what encoded them: with themselves, or with a plan in bfloat16, of a network
    # after 60 steps, whose latents vary little beside their mean.
    off = model.encode(data.images).flatten(0, 1) - latents
    low = encoding_dtype(fast_config, model.autoencoder, model.device) == torch.bfloat16
    assert off.square().mean().sqrt() < (0.1 if low else 1e-5)


def test_the_model_generates(finished: Path, data: TrainingData):
    model = load(finished)
    known = torch.zeros(len(data.held_out), 4, dtype=torch.bool)
    known[:, 0] = True
    out = model.generate(data.held_out, known, seed=1)
    assert out.dtype == torch.uint8 and out.shape == data.held_out.shape
    assert torch.equal(out[:, 0], data.held_out[:, 0])


def test_stages_one_by_one(finished: Path, tmp_path: Path, fast_config: TrainConfig, data: TrainingData):
    with pytest.raises(InputError, match="no trained autoencoder"):
        run(tmp_path, fast_config, data, stage="diffusion")
    assert run(tmp_path, fast_config, data, stage="autoencoder")
    assert run(tmp_path, fast_config, data, stage="diffusion")
    score = Path("checkpoint") / "score.safetensors"
    assert (tmp_path / score).read_bytes() == (finished / score).read_bytes()


def test_a_run_is_not_overwritten(finished: Path, fast_config: TrainConfig, data: TrainingData):
    with pytest.raises(InputError, match="add --resume, or give another --out"):
        run(finished, fast_config, data)


def test_mirroring_is_refused_for_views_in_another_order(tmp_path: Path, fast_config: TrainConfig, data: TrainingData):
    data = dataclasses.replace(data, view_names=("front", "back", "left", "right"))
    config = with_stage(with_stage(fast_config, "autoencoder", steps=1), "diffusion", mirror=True)
    with pytest.raises(InputError, match=r"diffusion_stage\.mirror"):
        run(tmp_path / "run", config, data)
    assert not (tmp_path / "run").exists()
    assert run(tmp_path / "run", config, data, stage="autoencoder")


def test_the_callers_randomness_is_left_alone(tmp_path: Path, fast_config: TrainConfig, data: TrainingData):
    config = with_stage(fast_config, "autoencoder", augment="trivial-augment-wide", steps=2)
    config = with_stage(config, "diffusion", steps=2)
    before = torch.random.get_rng_state()
    assert run(tmp_path, config, data)
    assert torch.equal(torch.random.get_rng_state(), before)
