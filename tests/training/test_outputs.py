"""What a run leaves in its folder while it trains, and what it starts from."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
import torch._dynamo
from helpers.networks import curve, weights

from dimvida.data.contact_sheet import SheetRow
from dimvida.errors import InputError
from dimvida.models import ScoreConfig
from dimvida.models.checkpoint import load_checkpoint
from dimvida.sampling.multiview import load
from dimvida.training import figures
from dimvida.training.config import TrainConfig
from dimvida.training.data import TrainingData

from .conftest import run, with_stage


def test_sheets_name_objects_and_views(data: TrainingData, fast_config: TrainConfig, tmp_path: Path, monkeypatch):
    """The pictures are drawn as ever; what is written on them is looked at before."""
    drawn: list[list[SheetRow]] = []
    draw = figures.draw_contact_sheet
    monkeypatch.setattr(
        figures, "draw_contact_sheet", lambda rows, header: drawn.append(rows) or draw(rows, header=header)
    )
    config = with_stage(with_stage(fast_config, "autoencoder", steps=1), "diffusion", steps=1)
    assert run(tmp_path, config, data)
    reconstructed, completed = drawn
    names = list(data.held_out_ids)
    assert len(names) == len(data.held_out) and set(names) < {f"box/{number}" for number in range(40)}
    assert [row.title for row in reconstructed] == [title for name in names for title in (name, "reconstructed")]
    assert [row.title for row in completed if row.title != "true"] == names
    for row in (*reconstructed, *completed):
        assert [tile.caption for tile in row.tiles][:4] == ["front", "right", "back", "left"]


def test_the_best_and_every_kth_checkpoint_are_kept(tmp_path: Path, fast_config: TrainConfig, data: TrainingData):
    config = with_stage(fast_config, "autoencoder", keep_every=25)
    config = with_stage(config, "diffusion", keep_every=40, lr=0.3, lr_schedule="constant", ema=0.0)
    for number, stop in enumerate([40, 50, 10**9]):
        assert run(tmp_path / "cut", config, data, stop=stop, resume=number > 0) == (stop > 120)
    assert run(tmp_path / "whole", with_stage(config, "diffusion", keep_every=0), data)
    rows = curve(tmp_path / "whole" / "diffusion.csv")
    best = min(rows, key=lambda row: float(row["validation_loss"]))
    assert best is not rows[-1], "nothing to tell apart"
    for out in (tmp_path / "cut", tmp_path / "whole"):
        account = load_checkpoint(out / "best").config.provenance["diffusion"]
        assert account["steps"] == int(best["step"])
        assert account["validation"] == {"loss": float(best["validation_loss"])}
    assert weights(tmp_path / "cut", "best") == weights(tmp_path / "whole", "best")
    score = Path("score.safetensors")
    assert (tmp_path / "cut/best" / score).read_bytes() != (tmp_path / "cut/checkpoint" / score).read_bytes()
    kept = ["autoencoder-000025", "autoencoder-000050", "diffusion-000040", "diffusion-000080", "diffusion-000120"]
    assert sorted(path.name for path in (tmp_path / "cut" / "steps").iterdir()) == kept
    assert load_checkpoint(tmp_path / "cut/steps/diffusion-000080").config.provenance["diffusion"]["steps"] == 80
    last = (tmp_path / "cut/steps/diffusion-000120" / score).read_bytes()
    assert last == (tmp_path / "cut/checkpoint" / score).read_bytes()
    assert not (tmp_path / "whole/steps" / "diffusion-000040").exists()


def test_the_best_autoencoder_is_usable_before_the_diffusion(
    tmp_path: Path, fast_config: TrainConfig, data: TrainingData
):
    assert not run(tmp_path, with_stage(fast_config, "autoencoder", steps=30), data, stop=27)
    assert load_checkpoint(tmp_path / "best").config.provenance["autoencoder"]["steps"] in (10, 20)
    latents = load(tmp_path / "best").encode(data.images)
    assert 0.5 < float(latents.std()) < 2


def test_a_run_starts_from_another_checkpoint(
    finished: Path, tmp_path: Path, fast_config: TrainConfig, data: TrainingData
):
    init = load_checkpoint(finished)
    config = with_stage(fast_config, "autoencoder", steps=1, lr=1e-12, ema=0.0)
    config = with_stage(config, "diffusion", steps=1, lr=1e-12, ema=0.0)
    assert run(tmp_path, config, data, init=init)
    result = load_checkpoint(tmp_path)
    for name, tensor in init.score.state_dict().items():
        torch.testing.assert_close(result.score.state_dict()[name], tensor, rtol=0, atol=1e-6)
    assert result.config.provenance["init"]["checkpoint_sha256"] == init.digest
    wider = dataclasses.replace(config, score=ScoreConfig(width=64, time_dim=16, groups=4))
    with pytest.raises(InputError, match="that checkpoint has score"):
        run(tmp_path / "wider", wider, data, init=init)


def test_the_diffusion_alone_starts_from_another_checkpoints_autoencoder(
    finished: Path, tmp_path: Path, fast_config: TrainConfig, data: TrainingData
):
    init = load_checkpoint(finished)
    config = dataclasses.replace(
        fast_config, diffusion_stage=dataclasses.replace(fast_config.diffusion_stage, steps=20)
    )
    assert run(tmp_path / "whole", config, data, init=init, stage="diffusion")
    tmp_path = tmp_path / "cut"
    # Stopped while it encodes, and in the middle of the training.
    assert not run(tmp_path, config, data, init=init, stage="diffusion", stop=1)
    with pytest.raises(InputError, match="was started with --init"):
        run(tmp_path, config, data, stage="diffusion", resume=True)
    assert not run(tmp_path, config, data, init=init, stage="diffusion", stop=10, resume=True)
    assert run(tmp_path, config, data, init=init, stage="diffusion", resume=True)
    assert weights(tmp_path) == weights(tmp_path.with_name("whole"))
    result = load_checkpoint(tmp_path)
    for name, tensor in init.autoencoder.state_dict().items():
        assert torch.equal(result.autoencoder.state_dict()[name], tensor), name
    assert torch.equal(result.latent_mean, init.latent_mean) and torch.equal(result.latent_std, init.latent_std)
    assert not torch.equal(result.score.output.weight, init.score.output.weight)
    assert result.config.provenance["autoencoder"] == init.config.provenance["autoencoder"]
    assert not (tmp_path / "autoencoder.state").exists()
