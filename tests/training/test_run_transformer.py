"""A grid autoencoder and a view transformer through both stages."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from helpers.networks import TRANSFORMER, curve, tiny_transformer, weights

from dimvida.diffusion.schedule import VPSchedule
from dimvida.errors import InputError
from dimvida.models import GridAutoencoderConfig, ScoreConfig, ScoreNetwork, TransformerConfig, ViewTransformer
from dimvida.models.autoencoder import GridAutoencoder, build_autoencoder
from dimvida.models.checkpoint import load_checkpoint
from dimvida.training import batches
from dimvida.training.autoencoder import AutoencoderObjective
from dimvida.training.config import TrainConfig, load_preset
from dimvida.training.data import TrainingData
from dimvida.training.diffusion import DiffusionObjective
from dimvida.training.ranks import Ranks, Share
from dimvida.training.stage_config import AutoencoderStageConfig, DiffusionStageConfig

from .conftest import absent_views_leave_no_trace, partly, prepared, run, with_stage

CPU = torch.device("cpu")
ALL = Share(slice(0, 6))


@pytest.fixture(scope="module")
def config() -> TrainConfig:
    return load_preset("tiny", TRANSFORMER)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, config: TrainConfig, data: TrainingData) -> Path:
    out = tmp_path_factory.mktemp("transformer")
    assert run(out, config, data)
    return out


def test_both_stages_learn(finished: Path):
    checkpoint = load_checkpoint(finished)
    assert isinstance(checkpoint.autoencoder, GridAutoencoder) and isinstance(checkpoint.score, ViewTransformer)
    assert checkpoint.score.is_trained
    for statistics in (checkpoint.latent_mean, checkpoint.latent_std):
        first, second = statistics.view(2, 4)  # two channels of 2 x 2 places
        assert len(set(first.tolist())) == len(set(second.tolist())) == 1 and first[0] != second[0]
    for stage in ("autoencoder", "diffusion"):
        losses = [float(row["validation_loss"]) for row in curve(finished / f"{stage}.csv")]
        assert losses[-1] < losses[0]


def test_a_stopped_run_ends_as_the_whole_one(finished: Path, tmp_path: Path, config: TrainConfig, data: TrainingData):
    for number, stop in enumerate([20, 10 + 33]):
        assert not run(tmp_path, config, data, stop=stop, resume=number > 0)
    assert run(tmp_path, config, data, resume=True)
    assert weights(tmp_path) == weights(finished)


def test_another_network_is_another_configuration(finished: Path, config: TrainConfig, data: TrainingData):
    mlp = dataclasses.replace(config, score=ScoreConfig(width=32, time_dim=16, groups=4))
    with pytest.raises(InputError, match=r"another configuration \(score\.kind: transformer -> mlp\)"):
        run(finished, mlp, data, resume=True)
    with pytest.raises(InputError, match=r"\(score\.width: 16 -> 32\)"):
        run(finished, dataclasses.replace(config, score=dataclasses.replace(config.score, width=32)), data, resume=True)
    with pytest.raises(InputError, match=r"\(diffusion_stage\.autocast: auto -> off\)"):
        run(finished, with_stage(config, "diffusion", autocast="off"), data, resume=True)


def test_absent_views_are_masked_in_training(tmp_path: Path, config: TrainConfig):
    short = with_stage(with_stage(config, "autoencoder", steps=5), "diffusion", steps=10)
    assert absent_views_leave_no_trace(tmp_path, short, lambda: prepared(partly(), short))


@pytest.mark.parametrize("whole", [True, False])
def test_the_network_is_told_which_views_are_there(whole: bool):
    latents, present = torch.randn(1, 6, 4, 12), torch.ones(1, 6, 4, dtype=torch.bool)
    present[0, 2:, 1] = whole
    network, told = tiny_transformer(4, (3, 2, 2)), []
    network.register_forward_pre_hook(lambda module, inputs, named: told.append(named), with_kwargs=True)
    objective = DiffusionObjective(
        network, latents, latents[0], DiffusionStageConfig(autocast="off"), VPSchedule(), CPU, "velocity", present
    )
    objective.loss(ALL, **objective.draw(torch.arange(6), 0, 0, slice(0, 6)))
    assert told == [{}] if whole else torch.equal(told[0]["present"], present[0])


@pytest.mark.parametrize("native", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", ["transformer", "mlp"])
def test_by_default_a_transformer_multiplies_in_what_the_hardware_does(
    native: torch.dtype, kind: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(batches, "default_dtype", lambda device: native)  # of a machine that this one may not be
    network = tiny_transformer(4, (3, 2, 2)) if kind == "transformer" else ScoreNetwork(4, 12, 16, 8, 2)
    latents, seen = torch.randn(1, 6, 4, 12), []
    network.input.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    for autocast in ("auto", "off", "bfloat16"):
        config = DiffusionStageConfig(autocast=autocast)
        objective = DiffusionObjective(network, latents, latents[0], config, VPSchedule(), CPU)
        loss = objective.loss(ALL, **objective.draw(torch.arange(6), 0, 0, slice(0, 6)))
        loss.backward()
        assert loss.dtype == torch.float32
        objective.validate(network)  # always in float32
    auto = native if kind == "transformer" else torch.float32
    assert seen == [auto, torch.float32, torch.float32, torch.float32, torch.bfloat16, torch.float32]
    assert all(weight.grad.dtype == torch.float32 for weight in network.parameters() if weight.grad is not None)


def test_noise_on_a_grid_is_in_units_of_its_channels():
    network = build_autoencoder(GridAutoencoderConfig(image_size=16, latent_channels=2, base=8))
    images = torch.randint(256, (6, 3, 16, 16), dtype=torch.uint8)
    clean, decoded = network.encode(images.float() / 255), []
    network.decoder.register_forward_pre_hook(lambda module, inputs: decoded.append(inputs[0]))
    objective = AutoencoderObjective(
        network, images, images, AutoencoderStageConfig(latent_noise=0.5, autocast="off"), CPU, Ranks()
    )
    drawn = objective.draw(torch.arange(6), 0, 0, slice(0, 6))
    objective.loss(ALL, **drawn)
    spread = clean.view(6, 2, 4).std((0, 2), correction=0).repeat_interleave(4)
    torch.testing.assert_close(decoded[0], clean + 0.5 * spread * drawn["noise"])


def test_another_kind_begins_with_its_own_defaults(tmp_path: Path):
    grid = load_preset("paper", ["autoencoder.latent_channels=8", "autoencoder.kind=grid", "score.kind=transformer"])
    assert grid.autoencoder == GridAutoencoderConfig(latent_channels=8) and grid.autoencoder.latent_dim == 512
    assert grid.score == TransformerConfig()
    assert grid.diffusion_stage == load_preset("paper").diffusion_stage
    file = tmp_path / "mine.toml"
    file.write_text('[autoencoder]\nkind = "grid"\nimage_size = 128\n[score]\nkind = "transformer"\ndepth = 3\n')
    mine = load_preset("paper", ["score.heads=4"], file)
    assert mine.autoencoder == GridAutoencoderConfig(image_size=128)
    assert mine.score == TransformerConfig(depth=3, heads=4)
    assert load_preset("paper", ["score.kind=mlp"]) == load_preset("paper")
    assert load_preset("small", ["score.kind=transformer", "autoencoder.kind=grid"]) == load_preset("small")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["autoencoder.kind=pooling"], "score.kind transformer takes latents that are grids, not 64 numbers"),
        (["autoencoder.kind=grid", "autoencoder.latent_dim=96"], "leave latent_dim out"),
        (["autoencoder.kind=grid", "score.kind=transformer", "score.patch=3"], "score.patch 3 does not divide"),
        (["score.kind=unet"], "score: kind 'unet': choose from mlp, transformer"),
        (["autoencoder.kind=vae"], "autoencoder: kind 'vae': choose from pooling, grid"),
        (["autoencoder.kind=patch"], "autoencoder: kind 'patch' is of an earlier version, and this one has it no more"),
        (["autoencoder.kind=grid", "score.kind=transformer", "score.groups=4"], "unknown option 'groups'"),
        (["score.kind=mlp", "score.depth=4"], "unknown option 'depth'"),
        (["diffusion_stage.autocast=half"], "autocast 'half': choose from auto, off, bfloat16"),
    ],
)
def test_refused_configurations(settings: list[str], message: str):
    with pytest.raises(InputError, match=message):
        load_preset("tiny", settings)
