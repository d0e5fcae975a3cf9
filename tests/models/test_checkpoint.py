"""Checkpoints survive the round trip and damaged ones are refused in one line."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

import pytest
import torch

from dimvida.errors import InputError
from dimvida.models.checkpoint import (
    BUNDLED,
    WEIGHT_FILES,
    Checkpoint,
    load_checkpoint,
    save_checkpoint,
)
from dimvida.models.familiarity import InputStatistics

from .conftest import edit_config, same_weights

AUTOENCODER, SCORE, LATENTS = WEIGHT_FILES


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


def test_a_checkpoint_without_hashes_is_the_one_it_was(folder: Path):
    before = load_checkpoint(folder)
    edit_config(folder, "sha256")
    after = load_checkpoint(folder)
    assert same_weights(before, after)
    assert before.digest == after.digest


def test_the_digest_of_a_checkpoint_is_that_of_the_time_before_hashes(folder: Path):
    values = json.loads((folder / "config.json").read_text())
    assert sorted(values.pop("sha256")) == sorted(WEIGHT_FILES)
    content = (json.dumps(values, indent=2) + "\n").encode() + b"".join((folder / n).read_bytes() for n in WEIGHT_FILES)
    assert load_checkpoint(folder).digest == hashlib.sha256(content).hexdigest()


def test_the_bundled_checkpoint_has_its_hashes():
    hashes = json.loads((BUNDLED / "config.json").read_text())["sha256"]
    assert hashes == {name: hashlib.sha256((BUNDLED / name).read_bytes()).hexdigest() for name in WEIGHT_FILES}


def test_a_home_folder(checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    save_checkpoint("~/models/mine", checkpoint)
    assert same_weights(load_checkpoint(tmp_path / "models/mine"), load_checkpoint("~/models/mine"))


def test_what_the_training_images_look_like_names_no_other_checkpoint(checkpoint: Checkpoint, folder: Path):
    before = load_checkpoint(folder)
    inputs = InputStatistics((255.0, 254.5, 0.0), 1.0, 20.25)
    checkpoint.config = dataclasses.replace(checkpoint.config, inputs=inputs)
    save_checkpoint(folder, checkpoint)
    after = load_checkpoint(folder)
    assert (before.config.inputs, after.config.inputs) == (None, inputs)
    assert before.digest == after.digest
    for damage, message in [
        ({"background": "white"}, "background must be a list of numbers"),
        ({"background": [1, 2]}, "background must have 3 levels"),
        ({"error": 1e9}, "levels from 0 to 255"),
        ({"colour": 1}, "unknown option 'colour'"),
    ]:
        edit_config(folder, inputs={**dataclasses.asdict(inputs), **damage})
        with pytest.raises(InputError, match=message):
            load_checkpoint(folder)
