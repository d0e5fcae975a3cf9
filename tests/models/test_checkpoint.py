"""Checkpoints survive the round trip and damaged ones are refused in one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from dimvida.errors import InputError
from dimvida.models.checkpoint import Checkpoint, CheckpointConfig, load_checkpoint, save_checkpoint
from dimvida.models.config import AutoencoderConfig, ScoreConfig


@pytest.fixture
def checkpoint() -> Checkpoint:
    torch.manual_seed(0)
    config = CheckpointConfig(
        view_names=("front", "right", "back"),
        classes=("chair",),
        autoencoder=AutoencoderConfig("patch", image_size=16, latent_dim=4, base=8),
        score=ScoreConfig(width=16, time_dim=8, groups=4),
        provenance={"note": "test"},
    )
    autoencoder, score = config.build()
    torch.nn.init.normal_(score.output.weight)
    return Checkpoint(config, autoencoder, score, torch.randn(4), torch.rand(4) + 0.5)


@pytest.fixture
def folder(checkpoint: Checkpoint, tmp_path: Path) -> Path:
    save_checkpoint(tmp_path / "saved", checkpoint)
    return tmp_path / "saved"


def test_round_trip(checkpoint: Checkpoint, folder: Path):
    loaded = load_checkpoint(folder)
    assert loaded.config == checkpoint.config
    for name, tensor in checkpoint.score.state_dict().items():
        assert torch.equal(tensor, loaded.score.state_dict()[name])
    for name, tensor in checkpoint.autoencoder.state_dict().items():
        assert torch.equal(tensor, loaded.autoencoder.state_dict()[name])
    assert torch.equal(loaded.latent_mean, checkpoint.latent_mean)
    assert torch.equal(loaded.latent_std, checkpoint.latent_std)
    assert sorted(p.name for p in folder.iterdir()) == [
        "autoencoder.safetensors",
        "config.json",
        "latents.safetensors",
        "score.safetensors",
    ]


def test_half_precision_storage_loads_as_float32(checkpoint: Checkpoint, tmp_path: Path):
    save_checkpoint(tmp_path / "half", checkpoint, torch.float16)
    loaded = load_checkpoint(tmp_path / "half")
    weight = loaded.score.input.weight
    assert weight.dtype == torch.float32
    assert torch.equal(weight, checkpoint.score.input.weight.half().float())


def test_hash_follows_content(checkpoint: Checkpoint, folder: Path):
    before = load_checkpoint(folder).digest
    assert before == load_checkpoint(folder).digest
    checkpoint.latent_mean[0] += 1
    save_checkpoint(folder, checkpoint)
    assert load_checkpoint(folder).digest != before


def test_a_training_run_is_a_checkpoint(checkpoint: Checkpoint, tmp_path: Path):
    save_checkpoint(tmp_path / "run" / "checkpoint", checkpoint)
    assert load_checkpoint(tmp_path / "run").config == checkpoint.config


def edit_config(folder: Path, **changes) -> None:
    path = folder / "config.json"
    values = json.loads(path.read_text())
    values.update(changes)
    path.write_text(json.dumps(values))


def edit_tensor(path: Path, name: str, value: float) -> None:
    tensors = load_file(path)
    tensors[name].view(-1)[0] = value
    save_file(tensors, path)


DAMAGES = {
    "newer schema": (lambda f: edit_config(f, schema=2), "newer than this dimvida reads"),
    "older schema": (lambda f: edit_config(f, schema=0), "schema 0 is not one"),
    "no schema": (lambda f: edit_config(f, schema=None), "no integer 'schema'"),
    "unknown option": (lambda f: edit_config(f, colour="red"), "unknown option 'colour'"),
    "one view": (lambda f: edit_config(f, view_names=["front"]), "config.json: a model needs at least 2 views"),
    "repeated view": (lambda f: edit_config(f, view_names=["a", "a", "b"]), "config.json: view names repeat"),
    "bad size": (lambda f: edit_config(f, autoencoder={"image_size": 63}), "config.json: autoencoder: image_size 63"),
    "views not a list": (lambda f: edit_config(f, view_names="front"), "view_names must be a list"),
    "bad schedule": (lambda f: edit_config(f, beta0=-1.0), "0 < beta0 < beta1"),
    "not JSON": (lambda f: (f / "config.json").write_text("{"), "not valid JSON"),
    "other width": (
        lambda f: edit_config(f, score={"width": 32, "time_dim": 8, "groups": 4}),
        "does not fit",
    ),
    "NaN": (lambda f: edit_tensor(f / "score.safetensors", "input.bias", float("nan")), "not finite"),
    "infinity": (lambda f: edit_tensor(f / "latents.safetensors", "mean", float("inf")), "not finite"),
    "zero std": (lambda f: edit_tensor(f / "latents.safetensors", "std", 0.0), "std must be above 0"),
    "missing file": (lambda f: (f / "score.safetensors").unlink(), "cannot be read"),
    "truncated": (
        lambda f: (f / "score.safetensors").write_bytes((f / "score.safetensors").read_bytes()[:100]),
        "not a valid safetensors",
    ),
    "pickle": (lambda f: torch.save({"a": torch.ones(1)}, f / "score.safetensors"), "is a pickle"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_refused_in_one_line(folder: Path, damage: str):
    break_it, message = DAMAGES[damage]
    break_it(folder)
    with pytest.raises(InputError, match=message) as caught:
        load_checkpoint(folder)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(folder))


def test_missing_checkpoints(tmp_path: Path):
    with pytest.raises(InputError, match="does not exist"):
        load_checkpoint(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"has no config\.json"):
        load_checkpoint(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is a file"):
        load_checkpoint(tmp_path / "file")


def test_loading_leaves_the_callers_randomness_alone(tiny_checkpoint: Path):
    before = torch.random.get_rng_state()
    load_checkpoint(tiny_checkpoint)
    assert torch.equal(torch.random.get_rng_state(), before)
