"""Configurations: overrides, refusals, round trips."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dimvida.errors import InputError
from dimvida.records import config_from_json
from dimvida.training.config import PRESETS, TrainConfig, load_preset


@given(
    preset=st.sampled_from(PRESETS),
    batch=st.integers(1, 10_000),
    lr=st.floats(1e-8, 1, allow_nan=False),
    schedule=st.sampled_from(["constant", "cosine", "cooldown"]),
    seed=st.integers(0, 2**40),
)
def test_overrides_and_round_trip(preset: str, batch: int, lr: float, schedule: str, seed: int):
    config = load_preset(
        preset,
        [
            f"diffusion_stage.batch={batch}",
            f"diffusion_stage.lr={lr!r}",
            f"autoencoder_stage.lr_schedule={schedule}",
            f"seed={seed}",
        ],
    )
    assert (config.diffusion_stage.batch, config.diffusion_stage.lr) == (batch, lr)
    assert config.autoencoder_stage.lr_schedule == schedule
    assert config_from_json(TrainConfig, config.to_dict(), "saved") == config
    assert config_from_json(TrainConfig, config.to_dict(), "saved").digest() == config.digest()


@given(st.text(max_size=30))
def test_any_override_is_accepted_or_refused_cleanly(text: str):
    try:
        load_preset("tiny", [text])
    except InputError as error:
        assert str(error)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("lr", "expected TABLE.OPTION=VALUE"),
        ("optimiser.lr=1", "unknown table; did you mean autoencoder_stage.lr or diffusion_stage.lr"),
        ("diffusion_stage.lrr=1", r"unknown option 'lrr'; did you mean diffusion_stage.lr\b"),
        ("image_size=96", r"unknown option 'image_size'; did you mean autoencoder\.image_size\?$"),
        ("imagesize=96", r"did you mean autoencoder\.image_size\?$"),
        ("autoencoder.imagesize=96", r"did you mean autoencoder\.image_size"),
        ("autoencoder-stage.steps=96", "did you mean autoencoder_stage.steps or diffusion_stage.steps"),
        ("seeds=3", r"did you mean seed\?"),
        ("score=3", "unknown option 'score'; known are seed, validation, and TABLE.OPTION of the tables autoencoder, "),
        ("a.b.c=3", "unknown table; known are seed, validation, and TABLE.OPTION of the tables autoencoder, score, "),
        ("classifier=resnet18", "unknown option 'classifier'; "),
        ("diffusion_stage.lr=fast", "--set diffusion_stage.lr=fast: lr must be a finite number"),
        ("diffusion_stage.lr=inf", "lr must be a finite number"),
        ("diffusion_stage.grad_clip=nan", "grad_clip must be a finite number"),
        ("diffusion_stage.lr=true", "lr must be a finite number"),
        ("diffusion_stage.lr=0", "diffusion_stage: lr must be above 0"),
        ("diffusion_stage.steps=2.5", "--set diffusion_stage.steps=2.5: steps must be a whole number"),
        ("diffusion_stage.steps=2.0", "steps must be a whole number"),
        ("diffusion_stage.steps=true", "steps must be a whole number"),
        ("seed=1.5", "--set seed=1.5: seed must be a whole number"),
        ("diffusion_stage.mirror=1", "mirror must be true or false"),
        ("diffusion_stage.mirror=yes", "mirror must be true or false"),
        ("diffusion_stage.times=1", "times must be a name"),
        ("diffusion_stage.batch=0", "batch must be at least 1"),
        ("diffusion_stage.drop=2", "drop must be in"),
        ("diffusion_stage.ema=1.0", "ema must be in"),
        ("diffusion_stage.times=cosine", "choose from uniform, importance"),
        ("autoencoder_stage.augment=flip", "choose from none"),
        ("autoencoder_stage.autocast=float16", "choose from auto, off, bfloat16"),
        ("diffusion_stage.keep_every=-1", "keep_every must not be negative"),
        ("score.heads=7", "width 48 is not a multiple of heads 7"),
        ("storage.dtype=int8", "choose from float32"),
        ("validation=1.0", "validation must be between"),
        ("autoencoder_stage.ssim_weight=-1", "ssim_weight must not be negative"),
        ("autoencoder_stage.scale=0", "scale must be above 0, not 0"),
        ("seed=-1", "seed must not be negative"),
        ("diffusion_stage.steps=9999999999999999999999", "steps must be finite and below"),
        ("seed=" + "[" * 10**5, "seed must be a whole number"),
    ],
)
def test_bad_overrides(override: str, message: str):
    with pytest.raises(InputError, match=message):
        load_preset("tiny", [override])


def test_a_file_replaces_the_presets_values_and_is_replaced_by_single_ones(tmp_path: Path):
    file = tmp_path / "mine.toml"
    file.write_text("seed = 5\n[diffusion_stage]\nlr = 1\nbatch = 7\n[autoencoder]\nlatent_channels = 2\n")
    config, preset = load_preset("tiny", ["diffusion_stage.batch=9"], file), load_preset("tiny")
    assert (config.seed, config.autoencoder.latent_channels) == (5, 2)
    assert (config.diffusion_stage.lr, config.diffusion_stage.batch) == (1.0, 9)
    assert config.diffusion_stage.steps == preset.diffusion_stage.steps and config.score == preset.score


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed = ", "not valid TOML"),
        ("[optimiser]\nlr = 1", "unknown option 'optimiser'"),
        ("[score]\nwidht = 1", "mine.toml: score: unknown option 'widht'"),
        ("score = 3", "mine.toml: score: expected a table"),
        ("[score]\nwidth = 'wide'", "width must be int"),
        ("[diffusion_stage]\nbatch = 0", "batch must be at least 1"),
        ("[diffusion_stage]\nlr = inf", "mine.toml: diffusion_stage: lr must be finite"),
        ("[autoencoder_stage]\nscale = nan", "scale must be above 0, not nan"),
        ("[diffusion_stage]\nbatch = 9223372036854775808", r"batch must be finite and below 2\*\*63"),
        ("seed = 123456789012345678901234567890", "seed must be finite"),
        ("a = " + "[" * 10**5, "not valid TOML"),
    ],
)
def test_bad_files(tmp_path: Path, text: str, message: str):
    (tmp_path / "mine.toml").write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        load_preset("tiny", [], tmp_path / "mine.toml")
    assert "mine.toml" in str(caught.value)
    with pytest.raises(InputError, match=r"other\.toml: cannot be read"):
        load_preset("tiny", [], tmp_path / "other.toml")


def test_whole_numbers_are_numbers():
    config = load_preset("tiny", ["diffusion_stage.lr=1", "validation = 0.5", "autoencoder_stage.recolour=true"])
    assert type(config.diffusion_stage.lr) is float and config.diffusion_stage.lr == 1
    assert config.validation == 0.5 and config.autoencoder_stage.recolour


def test_unknown_preset():
    with pytest.raises(InputError, match="choose from paper, base, small, tiny"):
        load_preset("huge")


def test_presets():
    paper = load_preset("paper")
    assert (paper.score.width, paper.score.time_dim, paper.autoencoder.latent_dim) == (1536, 512, 64)
    assert (paper.diffusion_stage.epochs, paper.diffusion_stage.lr, paper.diffusion_stage.drop) == (1000, 1e-4, 0.2)
    assert (paper.autoencoder_stage.augment, paper.autoencoder_stage.scale) == ("trivial-augment-wide", 0.75)
    assert (paper.sampling.solver, paper.sampling.steps) == ("euler-maruyama", 250)
    for name in ("base", "small", "tiny"):
        assert load_preset(name).digest() != paper.digest()


def test_the_preset_for_one_gpu_is_a_view_transformer_of_any_number_of_views():
    base = load_preset("base")
    assert (base.score.kind, base.score.width, base.score.depth) == ("transformer", 384, 12)
    assert base.autoencoder.latent_shape == (8, 8, 8) and base.takes_cameras
    assert base.diffusion_stage.counts_of(24) == range(6, 7) and base.diffusion_stage.counts_of(4) == range(4, 5)
    large = load_preset("base", ["autoencoder.image_size=128", "score.patch=4"])
    for config in (base, large):
        with torch.device("meta"):
            network = config.score.build(4, config.autoencoder.latent_shape)
        assert len(network.place_embedding) == 16
