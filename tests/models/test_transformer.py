"""The view transformer: its tokens, what they see of each other, and that a checkpoint keeps it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from helpers.networks import randomised, tiny_transformer
from torch import Tensor

from dimvida.diffusion.loss import denoising_loss
from dimvida.diffusion.schedule import VPSchedule
from dimvida.errors import InputError
from dimvida.models import AutoencoderConfig, GridAutoencoderConfig, ScoreConfig, TransformerConfig, ViewTransformer
from dimvida.models.checkpoint import Checkpoint, CheckpointConfig, load_checkpoint, save_checkpoint
from dimvida.models.transformer import attention

SHAPE = (3, 4, 4)
CLOSE = {"rtol": 1e-4, "atol": 1e-5}
"""Sums in another order: float32 rounds otherwise."""


@pytest.fixture
def network() -> ViewTransformer:
    return tiny_transformer(views=4, latent_shape=SHAPE).requires_grad_(False)


def inputs(rows: int = 5, views: int = 4) -> tuple[Tensor, Tensor]:
    return torch.randn(rows, views, 48), torch.rand(rows, views)


@pytest.mark.parametrize("views", [2, 4, 24])
@torch.no_grad()
def test_an_untrained_network_returns_zeros_of_the_form_of_its_input(views: int):
    network = TransformerConfig(width=16, depth=1, heads=2, time_dim=8).build(views, SHAPE)
    x, tau = inputs(3, views)
    assert torch.equal(network(x, tau), torch.zeros_like(x)) and not network.is_trained
    torch.nn.init.normal_(network.output.weight)
    assert network(x, tau).any() and network.is_trained


@torch.no_grad()
def test_an_untrained_block_is_the_identity():
    network = TransformerConfig(width=16, depth=3, heads=2, time_dim=8).build(2, SHAPE)
    tokens = torch.randn(2, 2, 4, 16)
    for block in network.blocks:
        assert torch.equal(block(tokens, torch.randn(2, 2, 1, 16), None), tokens)


def test_tokens_are_patches_of_a_view_s_grid_and_back(network: ViewTransformer):
    x, _ = inputs()
    patches = network._patches(x)
    assert patches.shape == (5, 4, 4, 12)
    grid = x.view(5, 4, *SHAPE)
    assert torch.equal(patches[1, 2, 3], grid[1, 2, :, 2:, 2:].flatten())  # the last patch is at the lower right
    assert torch.equal(network._grids(patches), x)


def test_views_come_in_any_order_and_number(network: ViewTransformer):
    x, tau = inputs()
    order = torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(network(x[:, order], tau[:, order], views=order), network(x, tau)[:, order], **CLOSE)
    each = torch.stack([torch.randperm(4) for _ in range(5)])
    rows = torch.arange(5)[:, None]
    out = network(x[rows, each], tau[rows, each], views=each)
    torch.testing.assert_close(out, network(x, tau)[rows, each], **CLOSE)
    assert network(x[:, :3], tau[:, :3], views=order[:3]).shape == (5, 3, 48)
    # Without its vector a view would be any other.
    assert not torch.allclose(network(x[:, order], tau[:, order]), network(x, tau)[:, order], **CLOSE)


@pytest.mark.parametrize("rubbish", [1e6, float("inf"), float("nan")])
def test_absent_views_have_no_influence(network: ViewTransformer, rubbish: float):
    x, tau = inputs()
    present = torch.tensor([[1, 1, 1, 1], [1, 0, 1, 1], [1, 0, 0, 1], [0, 1, 1, 0], [0, 0, 1, 1]], dtype=torch.bool)
    out = network(x, tau, present)
    other, times = torch.where(present[..., None], x, rubbish), torch.where(present, tau, 1 - tau)
    assert torch.equal(network(other, times, present)[present], out[present])
    torch.testing.assert_close(network(x, tau, present)[0], network(x, tau)[0], **CLOSE)
    for row in range(1, 5):  # as if there were no such views
        there = present[row].nonzero()[:, 0]
        alone = network(x[row : row + 1, there], tau[row : row + 1, there], views=there)[0]
        torch.testing.assert_close(alone, out[row, there], **CLOSE)


def test_every_view_sees_every_view_and_every_time(network: ViewTransformer):
    x, tau = inputs(1)
    before = network(x, tau)
    for view in range(4):
        moved, later = x.clone(), tau.clone()
        moved[0, view, 0] += 1
        later[0, view] += 0.1
        for changed in (network(moved, tau), network(x, later)):
            assert ((changed - before).abs().amax(-1) > 1e-6).all()


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


def half_known(rows: int = 5) -> tuple[Tensor, Tensor, Tensor]:
    """Latents, known views and multi-times of rows that know none, one, two or three of four views."""
    x, tau = inputs(rows)
    known = torch.tensor([[0, 0, 0, 0], [1, 0, 0, 0], [0, 1, 0, 1], [0, 1, 1, 1], [1, 1, 0, 0]], dtype=torch.bool)
    return x, known, torch.where(known, 0, tau + 0.01)


def tokens_of(network: ViewTransformer, x: Tensor, tau: Tensor, present: Tensor | None = None) -> Tensor:
    """What the last block makes of the tokens, [B, n, P, W]."""
    tokens = []
    with network.blocks[-1].register_forward_hook(lambda module, inputs, output: tokens.append(output)):
        network(x, tau, present)
    return tokens[0]


def test_known_views_that_attend_to_known_ones_do_not_see_the_others():
    network = tiny_transformer(4, SHAPE, known_attend="known").requires_grad_(False)
    x, known, tau = half_known()
    before = tokens_of(network, x, tau)
    other = torch.where(known[..., None], x, torch.randn_like(x))
    later = torch.where(known, 0, (tau + 1) / 2)
    after = tokens_of(network, other, later)
    assert torch.equal(after[known], before[known])  # so their keys and values are those of every evaluation
    assert not torch.isclose(after[~known], before[~known]).flatten(1).all(1).any()
    # Missing views see all: those of a row without known ones as ever.
    usual = tiny_transformer(4, SHAPE).requires_grad_(False)
    torch.testing.assert_close(network(x, tau)[0], usual(x, tau)[0], **CLOSE)
    moved = torch.where(known[..., None], torch.randn_like(x), x)
    seen = ~torch.isclose(network(moved, tau)[~known], network(x, tau)[~known]).all(1)
    assert torch.equal(seen, known.any(1)[:, None].expand_as(known)[~known])
    assert not torch.isclose(network(x, tau), usual(x, tau))[1:][~known[1:]].all()


@pytest.mark.parametrize("rubbish", [1e6, float("inf"), float("nan")])
def test_absent_views_have_no_influence_on_known_ones_either(rubbish: float):
    network = tiny_transformer(4, SHAPE, known_attend="known")
    x, _, tau = half_known()
    present = torch.tensor([[1, 1, 0, 0], [1, 1, 0, 1], [0, 1, 1, 0], [1, 1, 0, 0], [0, 1, 1, 0]], dtype=torch.bool)
    out = network(x, tau, present)
    other = torch.where(present[..., None], x, rubbish)
    assert torch.equal(network(other, torch.where(present, tau, 1 - tau), present)[present], out[present])
    for row in range(5):
        there = present[row].nonzero()[:, 0]
        alone = network(x[row : row + 1, there], tau[row : row + 1, there], views=there)[0]
        torch.testing.assert_close(alone, out[row, there], **CLOSE)
    out[present].square().mean().backward()
    assert all(weight.grad.isfinite().all() for weight in network.parameters())


def test_shared_modulation_is_that_of_a_layer_and_an_offset_in_each_block():
    shared = tiny_transformer(4, SHAPE, modulation="shared").requires_grad_(False)
    blockwise = tiny_transformer(4, SHAPE).requires_grad_(False)
    weights = shared.state_dict()
    layer = {name: weights.pop(f"block_modulation.{name}") for name in ("weight", "bias")}
    for block in range(2):
        weights[f"blocks.{block}.modulation.weight"] = layer["weight"]
        weights[f"blocks.{block}.modulation.bias"] = layer["bias"] + weights.pop(f"blocks.{block}.modulation.offset")
    blockwise.load_state_dict(weights)
    x, tau = inputs()
    torch.testing.assert_close(shared(x, tau), blockwise(x, tau), **CLOSE)
    assert sum(weight.numel() for weight in shared.parameters()) < sum(w.numel() for w in blockwise.parameters())


@torch.no_grad()
def test_a_block_with_shared_modulation_begins_as_the_identity_too():
    network = TransformerConfig(width=16, depth=3, heads=2, time_dim=8, modulation="shared").build(2, SHAPE)
    tokens = []
    for block in network.blocks:
        block.register_forward_hook(lambda module, inputs, output: tokens.append((inputs[0], output)))
    network(*inputs(2, 2))
    assert len(tokens) == 3 and all(torch.equal(before, after) for before, after in tokens)


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


def test_what_it_says_of_known_views_does_not_count(network: ViewTransformer):
    x, _ = inputs()
    known = torch.tensor([[True, False, False, True]]).expand(5, 4)
    t, noise = torch.rand(5), torch.randn_like(x)

    def loss(spoilt: float) -> Tensor:
        def answer(x: Tensor, tau: Tensor) -> Tensor:
            return torch.where(known[..., None], spoilt, network(x, tau))

        return denoising_loss(answer, x, known, t, noise, VPSchedule(), "velocity")

    assert torch.equal(loss(0.0), loss(1e6))


def test_a_gradient_reaches_every_weight():
    network = tiny_transformer(views=4, latent_shape=SHAPE)
    x, tau = inputs()
    network(x, tau).square().mean().backward()
    assert [name for name, weight in network.named_parameters() if not weight.grad.any()] == []


@pytest.mark.parametrize("masked", [False, True])
def test_attention_for_training_in_bfloat16_is_the_same(masked: bool):
    mask = torch.rand(3, 1, 1, 10) < 0.5 if masked else None
    if masked:
        mask[..., 0] = True
    joint = torch.randn(3, 3, 2, 10, 8, dtype=torch.bfloat16)
    expected = attention(*joint.float(), mask)
    for query, key, value in (joint, joint.clone().requires_grad_()):
        out = attention(query, key, value, mask)
        assert out.dtype == torch.bfloat16
        torch.testing.assert_close(out.float(), expected, rtol=0.02, atol=0.02)  # rounded to 8 bits on the way
    if masked:
        spoilt = value.masked_fill(~mask.transpose(-1, -2), 1e6)
        assert torch.equal(attention(query, key, spoilt, mask), out)


def test_a_checkpoint_keeps_it(tmp_path: Path):
    sizes = GridAutoencoderConfig(image_size=16, latent_channels=2, base=8)
    config = CheckpointConfig(("front", "back"), (), sizes, TransformerConfig(width=16, depth=2, heads=2, time_dim=8))
    autoencoder, score = config.build()
    saved = Checkpoint(config, autoencoder, randomised(score), torch.zeros(8), torch.ones(8))
    save_checkpoint(tmp_path, saved)
    loaded = load_checkpoint(tmp_path)
    assert loaded.config == config and isinstance(loaded.score, ViewTransformer)
    x, tau = torch.randn(3, 2, 8), torch.rand(3, 2)
    with torch.no_grad():
        assert torch.equal(loaded.score(x, tau), score(x, tau))
        assert torch.equal(loaded.autoencoder.decode(x[:, 0]), autoencoder.eval().decode(x[:, 0]))


def camera_config(cameras: object, score: object = TransformerConfig(width=16, heads=2)) -> CheckpointConfig:
    return CheckpointConfig(("a", "b"), (), GridAutoencoderConfig(image_size=16, base=8), score, cameras=cameras)


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


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"width": 30, "heads": 4}, "width 30 is not a multiple of heads 4"),
        ({"time_dim": 7}, "time_dim 7: .* even"),
        ({"prediction": "x"}, "choose from noise, velocity"),
        ({"known_attend": "none"}, "known_attend 'none': choose from all, known"),
        ({"modulation": "none"}, "modulation 'none': choose from block, shared"),
        ({"depth": 0}, "depth must be at least 1"),
        ({"depth": 10**6}, "depth must be at most"),
        ({"kind": "mlp"}, "this one is 'transformer'"),
    ],
)
def test_impossible_sizes(sizes: dict, message: str):
    with pytest.raises(InputError, match=message):
        TransformerConfig(**sizes)


def test_latents_must_be_grids_that_its_patches_divide():
    grid = GridAutoencoderConfig(image_size=24, base=8)  # 3 x 3 places
    for autoencoder, message in (
        (AutoencoderConfig(latent_dim=64), "takes latents that are grids, not 64 numbers .* autoencoder.kind grid"),
        (grid, "score.patch 2 does not divide the latents' grid of 3 places"),
    ):
        with pytest.raises(InputError, match=message):
            CheckpointConfig(("a", "b"), (), autoencoder, TransformerConfig())
    CheckpointConfig(("a", "b"), (), grid, dataclasses.replace(TransformerConfig(), patch=3))
    CheckpointConfig(("a", "b"), (), grid, ScoreConfig())  # an MLP takes any latents
