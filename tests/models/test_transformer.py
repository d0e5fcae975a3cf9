"""The view transformer: its tokens, what they see of each other, and that a checkpoint keeps it."""

from __future__ import annotations

import dataclasses
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
