"""Another kind of score network beside the MLP: chosen by its configuration, stored, loaded and sampled with."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import dimvida
from dimvida.errors import InputError
from dimvida.generation.settings import resolve_settings
from dimvida.models import AutoencoderConfig, MultiTimeNetwork, ScoreConfig
from dimvida.models import checkpoint as checkpoint_module
from dimvida.models.checkpoint import Checkpoint, CheckpointConfig, SamplingDefaults, load_checkpoint, save_checkpoint
from dimvida.models.config import ScoreSizes


class OneLayer(MultiTimeNetwork):
    def __init__(self, views: int, latent_dim: int, gain: float) -> None:
        super().__init__(views, latent_dim)
        self.layer, self.gain = nn.Linear(views * (latent_dim + 1), views * latent_dim), gain

    @property
    def is_trained(self) -> bool:
        return bool(self.layer.weight.any())

    def forward(self, x: Tensor, tau: Tensor) -> Tensor:
        return self.gain * self.layer(torch.cat([x.flatten(1), tau], dim=1)).view_as(x)


@dataclass(frozen=True, slots=True)
class OneLayerConfig(ScoreSizes):
    kind: str = "one-layer"
    prediction: str = "noise"
    gain: float = 0.5

    def build(self, views: int, latent_shape: tuple[int, ...]) -> OneLayer:
        return OneLayer(views, *latent_shape, self.gain)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkpoint with such a network, where it is one of the kinds."""
    monkeypatch.setattr(checkpoint_module, "AnyScoreConfig", ScoreConfig | OneLayerConfig)
    config = CheckpointConfig(
        ("front", "back"),
        (),
        AutoencoderConfig(image_size=16, latent_dim=8, base=8),
        OneLayerConfig(gain=0.25),
        sampling=SamplingDefaults("ddim", 4, 4.0),
    )
    save_checkpoint(tmp_path, Checkpoint(config, *config.build(), torch.zeros(8), torch.ones(8)))
    return tmp_path


def test_it_is_stored_and_loaded_as_what_it_is(folder: Path):
    loaded = load_checkpoint(folder)
    assert loaded.config.score == OneLayerConfig(gain=0.25)
    assert isinstance(loaded.score, OneLayer) and loaded.score.gain == 0.25


def test_without_a_fused_form_trajectories_are_eager(folder: Path):
    model = dimvida.load(folder)
    views = torch.randint(0, 256, (3, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(model.generate(views, "front"), model.generate(views, "front", backend="eager"))
    assert resolve_settings(model).backend == "eager"
    refusal = pytest.raises(InputError, match=r"backend 'fused' (cannot compute a OneLayer|has no native kernels)")
    with refusal:
        model.generate(views, "front", backend="fused")
    with refusal:
        resolve_settings(model, backend="fused")


def test_a_file_that_names_no_kind_means_the_mlp_and_another_kind_is_refused(folder: Path):
    path = folder / "config.json"
    config = json.loads(path.read_text())
    config["score"]["kind"] = "transformer"
    path.write_text(json.dumps(config))
    with pytest.raises(InputError, match="score: kind 'transformer': choose from mlp, one-layer"):
        load_checkpoint(folder)
    del config["score"]["kind"]
    path.write_text(json.dumps(config))
    with pytest.raises(InputError, match="score: unknown option 'gain'; known are width, time_dim, groups, prediction"):
        load_checkpoint(folder)
