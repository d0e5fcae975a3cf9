"""What is timed."""

from __future__ import annotations

import copy

import pytest
import torch

from dimvida.bench.arms import ARMS
from dimvida.bench.case import flops_per_row, make_case, matrix_layers, matrix_products, random_model
from dimvida.bench.sampling import measure
from dimvida.models import GridAutoencoderConfig, ScoreNetwork, TransformerConfig
from dimvida.models.checkpoint import CheckpointConfig, SamplingDefaults
from dimvida.sampling.multiview import MultiViewModel


def test_the_papers_network_takes_129_mflop_a_row():
    with torch.device("meta"):
        network = ScoreNetwork(4, 64, width=1536, time_dim=512, groups=32)
    assert len(matrix_layers(network)) == 1 + 7 * 2 + 3 + 4 + 1  # input, blocks, their skips, linears, output
    assert flops_per_row(network) == 2 * (2 * 256 * 1536 + 21 * 1536**2 + 3 * 2 * 1536**2 - 3 * 1536**2 + 3 * 1536**2)
    assert round(flops_per_row(network) / 1e6) == 129


def test_the_layers_of_the_time_conditioning_are_left_out(model):
    network, layers = model.score, matrix_layers(model.score)
    every = [layer for layer in network.modules() if isinstance(layer, torch.nn.Linear)]
    others = {id(layer) for layer in every} - {id(layer) for layer in layers}
    blocks = (*network.down_blocks, *network.mid_blocks, *network.up_blocks, network.final_block)
    expected = {id(network.time_embedding[0]), id(network.time_embedding[2])} | {id(block.time) for block in blocks}
    assert others == expected


def test_every_row_knows_one_view_and_neighbours_know_different_ones(model):
    case = make_case(model, 6, solver="ddim", steps=3)
    assert case.known.sum(1).tolist() == [1] * 6
    assert case.known.int().argmax(1).tolist() == [0, 1, 2, 3, 0, 1]
    assert case.missing_views == 18
    assert case.latents.shape == (6, 4, 8)


def test_what_is_known_is_said_from_the_host_as_users_do(model):
    """Else a GPU is waited for, and known views are computed at every evaluation."""
    case = make_case(copy.deepcopy(model).to("meta"), 6, solver="ddim", steps=3)
    assert (case.latents.device.type, case.known.device.type) == ("meta", "cpu")


def test_floor_does_the_products_of_every_evaluation(case, monkeypatch):
    done = []
    real = torch.mm
    monkeypatch.setattr(torch, "mm", lambda x, w, out: done.append((x, w, real(x, w, out=out))))
    matrix_products(case, torch.float32)()
    layers = matrix_layers(case.network)
    assert len(done) == len(layers) * case.table.evaluations
    for (x, w, out), layer in zip(done, layers, strict=False):
        assert x.shape == (9, layer.in_features) and w.shape == (layer.in_features, layer.out_features)
        assert w.data_ptr() == layer.weight.data_ptr()
        torch.testing.assert_close(out, x @ layer.weight.t())


@pytest.fixture(scope="module")
def transformer() -> MultiViewModel:
    """Tokens of width 16, four of each of two views, in two blocks."""
    config = CheckpointConfig(
        ("front", "back"),
        (),
        GridAutoencoderConfig(image_size=32, latent_channels=2, base=8),
        TransformerConfig(width=16, depth=2, heads=2, time_dim=8, modulation="shared"),
        sampling=SamplingDefaults(x0_clip=4.0),
    )
    return random_model(config)


def test_a_transformers_floor_is_its_products_and_attentions(transformer, monkeypatch):
    network, case = transformer.score, make_case(transformer, 3, solver="ddim", steps=2)
    names = {id(layer): name for name, layer in network.named_modules()}
    in_block = ["attention_input", "attention_output", "mlp.0", "mlp.2"]
    expected = ["input", *(f"blocks.{block}.{name}" for block in (0, 1) for name in in_block), "output"]
    assert [names[id(layer)] for layer in matrix_layers(network)] == expected
    products = 2 * 8 * (2 * 8 * 16 + 2 * 12 * 16**2)  # tokens times weights: input and output, blocks
    assert flops_per_row(network) == products + 2 * 2 * 2 * 8 * 8 * 16  # two products of an attention in each block
    asked = []
    real = torch.nn.functional.scaled_dot_product_attention
    monkeypatch.setattr(
        torch.nn.functional, "scaled_dot_product_attention", lambda *heads: asked.append(heads[0].shape) or real(*heads)
    )
    matrix_products(case, torch.float32)()
    assert asked == 2 * case.table.evaluations * [(3, 2, 8, 8)]


def test_a_transformer_is_timed_beside_its_floor(transformer):
    case = make_case(transformer, 3, solver="ddim", steps=2)
    result = measure(case, [ARMS["eager-fp32"], ARMS["fused-fp32"]], 1, profiled=True)
    assert not result.failed and [arm.name for arm in result.arms] == ["eager-fp32", "fused-fp32"]
    fused = result.arms[1]
    assert fused.rms_from_eager_fp32 < 1e-4 and fused.floor_fraction > 0
    assert fused.profile is not None
