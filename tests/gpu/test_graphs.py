"""Trajectories as graphs on a GPU: the same numbers as launches, built anew only where something changed."""

from __future__ import annotations

import pytest
import torch

from dimvida import ops
from dimvida.diffusion.solvers import SOLVERS, step_table
from dimvida.sampling import sample
from dimvida.sampling.engine import engine_of
from dimvida.sampling.trajectory import start_from_noise
from dimvida.sampling.workspace import KEPT

FLOAT32 = {"backend": "fused", "dtype": torch.float32}
CLOSE = {"rtol": 1e-4, "atol": 1e-4}


@pytest.mark.parametrize("solver", ["euler-maruyama", "sde-dpmpp-2m", "repaint", "repaint-mean"])
def test_a_graph_computes_what_its_launches_compute(device, make_network, make_inputs, solver: str):
    latents, known = (tensor.to(device) for tensor in make_inputs(37, 4, 64))
    network = make_network(4, 64, 96, 8).to(device)
    ids, seed = torch.arange(37, device=device), torch.tensor([3], device=device)
    rows = len(step_table(solver, 6))
    noise = torch.empty(rows, *latents.shape, device=device)
    for row in range(rows):
        ops.philox_normal_(noise[row], ids, seed, row + 1)
    options = {"solver": solver, "steps": 6, "x0_clip": 3.0, **FLOAT32}
    graphed = sample(network, latents, known, seed=3, **options)
    assert engine_of(network, torch.float32, device).builds["graph"] == 1
    start = start_from_noise(latents, known, ids, seed)
    launched = sample(network, start, known, noise=noise, **options)  # given noise, there is no graph
    assert engine_of(network, torch.float32, device).builds["graph"] == 1
    torch.testing.assert_close(graphed, launched, rtol=1e-5, atol=1e-5)
    assert torch.equal(sample(network, latents, known, seed=3, **options), graphed)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("solver", SOLVERS)
def test_with_and_without_a_graph_every_bit_is_the_same(device, make_network, make_inputs, solver: str, dtype):
    latents, known = (tensor.to(device) for tensor in make_inputs(37, 4, 64))
    network = make_network(4, 64, 96, 8).to(device)
    options = {"solver": solver, "steps": 6, "seed": 3, "x0_clip": 3.0, "backend": "fused", "dtype": dtype}
    engine = engine_of(network, dtype, device)
    engine.graphs = False
    launched = sample(network, latents, known, **options)
    assert engine.builds["graph"] == 0
    engine.graphs = True
    assert torch.equal(sample(network, latents, known, **options), launched)
    assert engine.builds["graph"] == 1


def test_a_replay_takes_every_new_input(device, make_network, make_inputs):
    network = make_network().to(device)
    cases = []
    for number in range(4):
        latents, known = make_inputs(20, seed=number)
        ids = torch.arange(20) * (number + 1)
        options = {"seed": number, "solver": ["ddim", "euler-maruyama"][number % 2], "steps": 5, "x0_clip": 3.0}
        cases.append((latents, known, ids, options))
    for latents, known, ids, options in (*cases, *reversed(cases)):
        expected = sample(make_network(), latents, known, sample_ids=ids, backend="eager", **options)
        got = sample(network, latents.to(device), known.to(device), sample_ids=ids.to(device), **FLOAT32, **options)
        torch.testing.assert_close(got.cpu(), expected, **CLOSE)
    assert engine_of(network, torch.float32, device).builds["graph"] == 1


def test_what_changes_is_built_anew_and_nothing_else(device, make_network, make_inputs):
    network = make_network().to(device)
    latents, known = (tensor.to(device) for tensor in make_inputs(40))

    def builds(rows: int, **options) -> dict[str, int]:
        sample(network, latents[:rows], known[:rows], **{"steps": 4, **FLOAT32, **options})
        return dict(engine_of(network, torch.float32, device).builds)

    assert builds(20) == {"weights": 1, "buffers": 1, "graph": 1}
    assert builds(20, seed=9, solver="ddim") == {"weights": 1, "buffers": 1, "graph": 1}
    assert builds(19) == {"weights": 1, "buffers": 1, "graph": 1}
    assert builds(7) == {"weights": 1, "buffers": 1, "graph": 2}
    assert builds(20) == {"weights": 1, "buffers": 1, "graph": 2}
    assert builds(20, steps=5) == {"weights": 1, "buffers": 1, "graph": 3}
    assert builds(40) == {"weights": 1, "buffers": 2, "graph": 4}
    network.input.weight.mul_(1.5)
    assert builds(40) == {"weights": 2, "buffers": 2, "graph": 5}
    network.input.weight.data.mul_(1.5)
    assert builds(40) == {"weights": 3, "buffers": 2, "graph": 6}


def test_batches_of_a_run_are_one_graph_whatever_they_lack(device, make_network, make_inputs):
    network = make_network().to(device)
    for number, rows in enumerate((64, 61, 64, 63)):
        latents, known = make_inputs(rows, seed=number)
        known[:, 0] |= number == 1
        options = {"steps": 4, "seed": number, "x0_clip": 3.0}
        expected = sample(make_network(), latents, known, backend="eager", **options)
        got = sample(network, latents.to(device), known, **FLOAT32, **options)
        torch.testing.assert_close(got.cpu(), expected, **CLOSE)
    assert engine_of(network, torch.float32, device).builds["graph"] == 1


def test_more_graphs_than_are_kept(device, make_network, make_inputs):
    network = make_network().to(device)
    latents, known = (tensor.to(device) for tensor in make_inputs(9))
    steps = range(1, KEPT + 4)
    first = [sample(network, latents, known, steps=count, x0_clip=3.0, **FLOAT32) for count in steps]
    again = [sample(network, latents, known, steps=count, x0_clip=3.0, **FLOAT32) for count in steps]
    for one, other in zip(first, again, strict=True):
        assert torch.equal(one, other)


def test_results_stay_when_the_graph_runs_again(device, make_network, make_inputs):
    network = make_network().to(device)
    latents, known = (tensor.to(device) for tensor in make_inputs(9, known=0.0))
    first = sample(network, latents, known, steps=3, seed=1, **FLOAT32)
    kept = first.clone()
    second = sample(network, latents, known, steps=3, seed=2, **FLOAT32)
    assert torch.equal(first, kept)
    assert not torch.allclose(first, second)
