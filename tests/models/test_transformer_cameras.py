"""A transformer that is conditioned on cameras, and the checkpoint that keeps them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from helpers.networks import randomised, tiny_transformer
from torch import Tensor

from dimvida.errors import InputError
from dimvida.models import GridAutoencoderConfig, ScoreConfig, TransformerConfig, ViewTransformer
from dimvida.models.checkpoint import Checkpoint, CheckpointConfig, load_checkpoint, save_checkpoint

SHAPE = (3, 4, 4)
CLOSE = {"rtol": 1e-4, "atol": 1e-5}


def inputs(rows: int = 5, views: int = 4) -> tuple[Tensor, Tensor]:
    return torch.randn(rows, views, 48), torch.rand(rows, views)


def camera_network(cameras: list[tuple[float, float]]) -> ViewTransformer:
    return tiny_transformer(len(cameras), SHAPE, cameras).requires_grad_(False)


RING = [(-90.0 * view, 30.0) for view in range(4)]


def test_named_views_of_a_network_that_takes_cameras_are_where_their_cameras_are():
    network = camera_network(RING)
    x, tau = inputs()
    assert network.takes_cameras and not tiny_transformer(4, SHAPE).takes_cameras
    angles = torch.tensor(RING)
    out = network(x, tau)
    assert torch.equal(network(x, tau, views=angles), out)
    assert torch.equal(network(x, tau, views=angles.expand(5, 4, 2)), out)
    order = torch.tensor([2, 0, 3, 1])
    moved = network(x[:, order], tau[:, order], views=angles[order])
    torch.testing.assert_close(moved, out[:, order], **CLOSE)
    torch.testing.assert_close(network(x[:, order], tau[:, order], views=order), out[:, order], **CLOSE)
    assert not torch.allclose(network(x, tau, views=angles + torch.tensor([20.0, 0.0])), out, **CLOSE)
    assert not torch.allclose(network(x, tau, views=angles + torch.tensor([0.0, 20.0])), out, **CLOSE)


@pytest.mark.parametrize("count", [1, 3, 12])
def test_any_number_of_views_from_anywhere_each_row_its_own(count: int):
    network = camera_network(RING)
    x, tau = inputs(3, count)
    angles = torch.stack([360 * torch.rand(3, count), 180 * torch.rand(3, count) - 90], -1)
    out = network(x, tau, views=angles)
    assert out.shape == x.shape
    for row in range(3):
        alone = network(x[row : row + 1], tau[row : row + 1], views=angles[row])
        torch.testing.assert_close(alone[0], out[row], **CLOSE)
    # A view that is left out is one that is absent.
    x, tau = torch.cat([x, x[:, :1]], 1), torch.cat([tau, tau[:, :1]], 1)
    present = torch.ones(3, count + 1, dtype=torch.bool)
    present[:, -1] = False
    more = network(x, tau, present, torch.cat([angles, angles[:, :1] + 45], 1))
    torch.testing.assert_close(more[:, :count], out, **CLOSE)


def test_a_turn_changes_no_camera_and_neighbours_are_alike():
    network = camera_network(RING)
    turned = torch.tensor([[10.0, 30.0], [370.0, 30.0], [-350.0, 30.0]])
    vectors = network.view_embedding(turned)
    torch.testing.assert_close(vectors[1:], vectors[:1].expand(2, -1), **CLOSE)
    ring = network.view_embedding(torch.tensor([(float(azimuth), 30.0) for azimuth in range(360)]))
    steps = (ring - ring.roll(1, 0)).norm(dim=1)
    apart = (ring - ring.roll(45, 0)).norm(dim=1)
    assert steps.max() < 0.2 * apart.min()  # also from 359 degrees to 0


def test_weights_do_not_depend_on_the_cameras_nor_hold_them():
    first, second = camera_network(RING), camera_network([(0.0, 0.0), (5.0, 5.0)])
    assert first.state_dict().keys() == second.state_dict().keys()
    assert not [name for name in first.state_dict() if name.endswith("cameras")]
    second.load_state_dict(first.state_dict())
    x, tau = inputs(2, 2)
    angles = torch.tensor(RING[1:3])
    assert torch.equal(second(x, tau, views=angles), first(x, tau, views=angles))


def camera_config(cameras: object, score: object = TransformerConfig(width=16, heads=2)) -> CheckpointConfig:
    return CheckpointConfig(("a", "b"), (), GridAutoencoderConfig(image_size=16, base=8), score, cameras=cameras)


def test_what_is_off_is_not_in_a_checkpoint(tmp_path: Path):
    config = camera_config(None)
    save_checkpoint(tmp_path, Checkpoint(config, *config.build(), torch.zeros(16), torch.ones(16)))
    written = json.loads((tmp_path / "config.json").read_text())
    assert set(written["score"]) == {"kind", "width", "depth", "heads", "patch", "mlp_ratio", "time_dim", "prediction"}
    assert not {"cameras", "inputs"} & written.keys()
    other = TransformerConfig(width=16, heads=2, known_attend="known", modulation="shared")
    config = camera_config(None, other)
    save_checkpoint(tmp_path, Checkpoint(config, *config.build(), torch.zeros(16), torch.ones(16)))
    assert load_checkpoint(tmp_path).config.score == other


def test_a_checkpoint_keeps_the_cameras(tmp_path: Path):
    config = camera_config(((0.0, 30.0), (-22.5, -10.0)))
    autoencoder, score = config.build()
    saved = Checkpoint(config, autoencoder, randomised(score), torch.zeros(16), torch.ones(16))
    save_checkpoint(tmp_path / "cameras", saved)
    assert json.loads((tmp_path / "cameras/config.json").read_text())["cameras"] == [[0.0, 30.0], [-22.5, -10.0]]
    loaded = load_checkpoint(tmp_path / "cameras")
    assert loaded.config == config and loaded.score.takes_cameras
    x, tau = torch.randn(3, 2, 16), torch.rand(3, 2)
    with torch.no_grad():
        assert torch.equal(loaded.score(x, tau), score(x, tau))
    save_checkpoint(tmp_path / "named", dataclasses.replace(saved, config=camera_config(None)))
    assert "cameras" not in json.loads((tmp_path / "named/config.json").read_text())
    with pytest.raises(InputError, match=r"score\.safetensors"):  # weights of the one are not those of the other
        load_checkpoint(tmp_path / "named")


@pytest.mark.parametrize(
    ("cameras", "message"),
    [
        ([[0, 30]], "cameras must be an azimuth and an elevation for each of the 2 views"),
        ([[0, 30], [0]], "cameras must be an azimuth"),
        ([[0, 30], [0, 100]], "an elevation between -90 and 90"),
        ([[0, 30], [0, "30"]], "cameras must be a list of numbers"),
        ([0, 30], "cameras must be a list of numbers"),
        ("front", "cameras must be a list"),
        ({}, "cameras must be a list"),
    ],
)
def test_a_checkpoint_with_damaged_cameras_is_refused(tmp_path: Path, cameras: object, message: str):
    config = camera_config(((0.0, 30.0), (-22.5, -10.0)))
    save_checkpoint(tmp_path, Checkpoint(config, *config.build(), torch.zeros(16), torch.ones(16)))
    values = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**values, "cameras": cameras}))
    with pytest.raises(InputError, match=message):
        load_checkpoint(tmp_path)


def test_an_mlp_has_no_cameras():
    with pytest.raises(InputError, match=r"score\.kind mlp is not conditioned on cameras"):
        camera_config(((0.0, 30.0), (-22.5, -10.0)), ScoreConfig())
