"""A small checkpoint, what may be done to its files, and whether two are the same."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from dimvida.models import AutoencoderConfig, ScoreConfig
from dimvida.models.checkpoint import Checkpoint, CheckpointConfig


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


def edit_config(folder: Path, **changes) -> None:
    """Change options of its config.json."""
    path = folder / "config.json"
    values = json.loads(path.read_text())
    values.update(changes)
    path.write_text(json.dumps(values))


def forget_hashes(folder: Path) -> None:
    """Make it a checkpoint of the time before they were written down."""
    values = json.loads((folder / "config.json").read_text())
    del values["sha256"]
    (folder / "config.json").write_text(json.dumps(values))


def weights(checkpoint: Checkpoint) -> dict[str, torch.Tensor]:
    """All that a checkpoint computes with."""
    parts = {"autoencoder": checkpoint.autoencoder, "score": checkpoint.score}
    state = {f"{part}.{name}": tensor for part, module in parts.items() for name, tensor in module.state_dict().items()}
    return {**state, "mean": checkpoint.latent_mean, "std": checkpoint.latent_std}


def same(one: Checkpoint, other: Checkpoint) -> bool:
    """Whether all weights are equal."""
    first, second = weights(one), weights(other)
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)
