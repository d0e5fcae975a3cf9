"""What is timed."""

from __future__ import annotations

import torch

from dimvida.bench.case import flops_per_row, make_case, matrix_layers, matrix_products
from dimvida.models import ScoreNetwork


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
