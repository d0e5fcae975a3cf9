"""Checkpoints and classifiers with random weights, and where they are saved."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from dimvida.models import AutoencoderConfig, ScoreConfig
from dimvida.models.checkpoint import Checkpoint, CheckpointConfig, save_checkpoint
from dimvida.models.classifiers import ImageClassifier, build_classifier


@pytest.fixture
def checkpoint() -> Checkpoint:
    return make_checkpoint(0)


@pytest.fixture
def folder(checkpoint: Checkpoint, tmp_path: Path) -> Path:
    save_checkpoint(tmp_path / "saved", checkpoint)
    return tmp_path / "saved"


def random_images(count: int = 3, size: int = 32) -> Tensor:
    """uint8 [count, 3, size, size]; the same for every call."""
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8, generator=generator)


def small_classifier(classes: int = 3, **options: object) -> ImageClassifier:
    """The smallest that there is, with random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        names = [f"class {number}" for number in range(classes)]
        return build_classifier("mobilenet-v3-small", names, **options).eval()


def make_checkpoint(seed: int) -> Checkpoint:
    """Three views, and random weights."""
    torch.manual_seed(seed)
    config = CheckpointConfig(
        view_names=("front", "right", "back"),
        classes=("chair",),
        autoencoder=AutoencoderConfig(image_size=16, latent_dim=4, base=8),
        score=ScoreConfig(width=16, time_dim=8, groups=4),
        provenance={"note": "test"},
    )
    autoencoder, score = config.build()
    torch.nn.init.normal_(score.output.weight)
    return Checkpoint(config, autoencoder, score, torch.randn(4), torch.rand(4) + 0.5)


def edit_config(folder: Path, *forgotten: str, **changes: object) -> None:
    """Change options of its config.json, and leave some out."""
    path = folder / "config.json"
    values = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({name: value for name, value in values.items() if name not in forgotten}))


def same_weights(one: Checkpoint, other: Checkpoint) -> bool:
    """Whether all that two checkpoints compute with is equal."""

    def state(of: Checkpoint) -> dict[str, Tensor]:
        parts = {"autoencoder": of.autoencoder.state_dict(), "score": of.score.state_dict()}
        named = {f"{part}.{name}": tensor for part, tensors in parts.items() for name, tensor in tensors.items()}
        return {**named, "mean": of.latent_mean, "std": of.latent_std}

    first, second = state(one), state(other)
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)
