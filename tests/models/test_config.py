"""Sizes and shapes of the networks."""

from __future__ import annotations

import pytest
import torch

from dimvida.errors import InputError
from dimvida.models import AutoencoderConfig, GridAutoencoderConfig, ScoreConfig, ScoreNetwork, build_autoencoder
from dimvida.records import config_from_json


def parameters(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_paper_sizes():
    autoencoder = build_autoencoder(AutoencoderConfig())
    assert parameters(autoencoder.encoder) == pytest.approx(4.86e6, rel=2e-3)
    assert parameters(autoencoder.decoder) == pytest.approx(4.93e6, rel=2e-3)
    with torch.device("meta"):
        assert parameters(ScoreNetwork(4, 64)) == pytest.approx(70.4e6, rel=2e-3)


@pytest.mark.parametrize("size", [32, 64, 128])
@torch.no_grad()
def test_autoencoder_shapes(size):
    autoencoder = build_autoencoder(AutoencoderConfig(image_size=size, latent_dim=8, base=8))
    images = torch.rand(2, 3, size, size)
    latents = autoencoder.encode(images)
    assert latents.shape == (2, 8)
    assert autoencoder.decode(latents).shape == images.shape


@pytest.mark.parametrize(("size", "channels", "dim"), [(16, 4, 16), (64, 4, 256), (128, 2, 512)])
@torch.no_grad()
def test_grid_autoencoder_shapes(size: int, channels: int, dim: int):
    config = GridAutoencoderConfig(image_size=size, latent_channels=channels, base=8)
    assert config.latent_dim == dim and config.latent_shape == (channels, size // 8, size // 8)
    autoencoder = build_autoencoder(config)
    images = torch.rand(2, 3, size, size)
    latents = autoencoder.encode(images)
    assert latents.shape == (2, dim) and autoencoder.decode(latents).shape == images.shape
    # What is dense would have its own number for each place.
    assert not [layer for layer in autoencoder.modules() if isinstance(layer, torch.nn.Linear)]


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"latent_dim": 96}, "latent_dim 96: 4 latent_channels at image_size 64 are 4 x 8 x 8 = 256 numbers"),
        ({"image_size": 60}, "image_size 60: the grid autoencoder needs a multiple of 8"),
        ({"base": 20}, "base 20: the grid autoencoder needs a multiple of 8"),
        ({"latent_channels": 0}, "latent_channels must be at least 1"),
        ({"kind": "pooling"}, "this one is 'grid'"),
    ],
)
def test_impossible_grids(sizes: dict, message: str):
    with pytest.raises(InputError, match=message):
        GridAutoencoderConfig(**sizes)


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
    with pytest.raises(InputError, match="image_size 62: the pooling autoencoder needs a multiple of 4"):
        AutoencoderConfig(image_size=62)
    with pytest.raises(InputError, match="this one is 'pooling'"):
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
