"""Sizes and shapes of the networks."""

from __future__ import annotations

import pytest
import torch

from dimvida.errors import InputError
from dimvida.models import AutoencoderConfig, ScoreConfig, ScoreNetwork, build_autoencoder
from dimvida.records import config_from_json


def parameters(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_paper_sizes():
    autoencoder = build_autoencoder(AutoencoderConfig())
    assert parameters(autoencoder.encoder) == pytest.approx(4.86e6, rel=2e-3)
    assert parameters(autoencoder.decoder) == pytest.approx(4.93e6, rel=2e-3)
    with torch.device("meta"):
        assert parameters(ScoreNetwork(4, 64)) == pytest.approx(70.4e6, rel=2e-3)


@pytest.mark.parametrize("kind", ["pooling", "patch"])
@pytest.mark.parametrize("size", [32, 64, 128])
@torch.no_grad()
def test_autoencoder_shapes(kind, size):
    autoencoder = build_autoencoder(AutoencoderConfig(kind, image_size=size, channels=3, latent_dim=8, base=8))
    images = torch.rand(2, 3, size, size)
    latents = autoencoder.encode(images)
    assert latents.shape == (2, 8)
    assert autoencoder.decode(latents).shape == images.shape


@pytest.mark.parametrize("views", [2, 4, 24])
@torch.no_grad()
def test_score_network_shapes_and_zero_start(views):
    network = ScoreNetwork(views, 5, width=24, time_dim=8, groups=4)
    out = network(torch.randn(3, views, 5), torch.rand(3, views))
    assert out.shape == (3, views, 5)
    assert torch.equal(out, torch.zeros_like(out))


@torch.no_grad()
def test_every_view_sees_every_time():
    network = ScoreNetwork(3, 4, width=16, time_dim=8, groups=4)
    torch.nn.init.normal_(network.output.weight)
    x, tau = torch.randn(1, 3, 4), torch.rand(1, 3)
    for view in range(3):
        changed = tau.clone()
        changed[0, view] += 0.1
        assert not torch.allclose(network(x, tau), network(x, changed))


def test_impossible_sizes():
    with pytest.raises(ValueError, match="at least 2 views"):
        ScoreNetwork(1, 4)
    with pytest.raises(ValueError, match="multiple of groups"):
        ScoreNetwork(2, 4, width=30, groups=4)
    with pytest.raises(InputError, match="multiple of 8"):
        AutoencoderConfig("patch", image_size=60)
    with pytest.raises(InputError, match="choose from pooling, patch"):
        AutoencoderConfig("vae")


def test_sizes_are_read_strictly():
    assert config_from_json(ScoreConfig, {"width": 64}, "x").width == 64
    with pytest.raises(InputError, match="unknown option 'widht'"):
        config_from_json(ScoreConfig, {"widht": 64}, "x")
    with pytest.raises(InputError, match="width must be int"):
        config_from_json(ScoreConfig, {"width": "64"}, "x")
    with pytest.raises(InputError, match="width must be int"):
        config_from_json(ScoreConfig, {"width": True}, "x")
    with pytest.raises(InputError, match="expected a table"):
        config_from_json(ScoreConfig, [], "x")
