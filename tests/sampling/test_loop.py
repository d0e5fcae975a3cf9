"""The sampling loop: moments, invariances, and what it refuses."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from helpers.networks import noise_network, propagate, velocity_network
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dimvida.diffusion.solvers import SOLVERS, STEPS_LIMIT, step_table
from dimvida.errors import InputError
from dimvida.models import ScoreNetwork
from dimvida.sampling import sample
from dimvida.sampling.trajectory import sample_id, sample_id_tensor

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]
BACKENDS = ["eager", "fused"]


@pytest.fixture(params=DEVICES)
def device(request) -> torch.device:
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("no GPU here")
    return torch.device(request.param)


@pytest.fixture(scope="module")
def network() -> ScoreNetwork:
    torch.manual_seed(0)
    network = ScoreNetwork(4, 6, width=32, time_dim=16, groups=4)
    torch.nn.init.normal_(network.output.weight, std=0.05)
    return network


def masks(rows: int, views: int, seed: int = 0) -> Tensor:
    return torch.rand(rows, views, generator=torch.Generator().manual_seed(seed)) < 0.4


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("solver", SOLVERS)
def test_moments_on_a_gaussian(solver: str, backend: str, device: torch.device):
    rows, steps = 4000, 50
    known = torch.zeros(rows, 2, dtype=torch.bool, device=device)
    known[::2, 0] = True
    latents = torch.full((rows, 2, 4), 9.0, device=device)
    out = sample(noise_network, latents, known, solver=solver, steps=steps, backend=backend)
    assert torch.equal(out[known], latents[known])
    drawn = out[~known].double()
    n = drawn.numel()
    # What this solver gives at this many steps, its own error included; the margins are five standard errors.
    mean, variance = propagate(step_table(solver, steps).rows, 0.0, 1.0)
    assert abs(float(drawn.mean()) - mean) < 5 * math.sqrt(variance / n)
    assert abs(float(drawn.var()) - variance) < 5 * variance * math.sqrt(2 / n)


@pytest.mark.parametrize("solver", SOLVERS)
def test_backends_agree_sample_by_sample(solver: str, network: ScoreNetwork, device: torch.device):
    network = network.to(device)
    latents, known = torch.randn(5, 4, 6, device=device), masks(5, 4).to(device)
    eager, fused = (
        sample(
            network, latents, known, solver=solver, steps=8, seed=3, backend=backend, x0_clip=3.0, dtype=torch.float32
        )
        for backend in BACKENDS
    )
    torch.testing.assert_close(fused, eager, rtol=1e-4, atol=1e-4)


@settings(max_examples=20, deadline=None)
@given(data=st.data(), solver=st.sampled_from(sorted(SOLVERS)), seed=st.integers(0, 2**63 - 1))
def test_rows_do_not_depend_on_their_batch(network: ScoreNetwork, data, solver: str, seed: int):
    network = network.cpu()
    rows = data.draw(st.integers(2, 7))
    latents, known = torch.randn(rows, 4, 6), masks(rows, 4, seed % 2**32)
    ids = sample_id_tensor(f"object {row}" for row in range(rows))
    # In a low precision, last bits depend on the batch and grow along a trajectory.
    options = {"solver": solver, "steps": 4, "seed": seed, "x0_clip": 3.0, "dtype": torch.float32}
    together = sample(network, latents, known, sample_ids=ids, **options)
    order = torch.tensor(data.draw(st.permutations(range(rows))))
    cut = data.draw(st.integers(1, rows - 1))
    for part in (order[:cut], order[cut:]):
        alone = sample(network, latents[part], known[part], sample_ids=ids[part], **options)
        torch.testing.assert_close(alone, together[part], rtol=1e-4, atol=1e-4)
        assert torch.equal(alone[known[part]], latents[part][known[part]])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("solver", SOLVERS)
def test_a_velocity_network_gives_the_same_samples(solver: str, backend: str):
    latents, known = torch.randn(20, 2, 3), torch.zeros(20, 2, dtype=torch.bool)
    known[:10, 1] = True
    results = [
        sample(network, latents, known, solver=solver, steps=20, backend=backend, prediction=prediction)
        for prediction, network in (("noise", noise_network), ("velocity", velocity_network))
    ]
    torch.testing.assert_close(*results, rtol=1e-3, atol=1e-3)


def test_a_known_view_influences_the_others(network: ScoreNetwork):
    known = torch.tensor([[True, False, False, False]])
    a, b = torch.zeros(1, 4, 6), torch.zeros(1, 4, 6)
    b[0, 0] = 1
    out_a, out_b = (sample(network.cpu(), x, known, steps=5, x0_clip=3.0) for x in (a, b))
    assert not torch.allclose(out_a[0, 1:], out_b[0, 1:])


def test_entries_of_missing_views_are_ignored(network: ScoreNetwork):
    known = masks(3, 4)
    latents = torch.randn(3, 4, 6)
    changed = torch.where(known[..., None], latents, torch.full_like(latents, math.nan))
    out = sample(network.cpu(), latents, known, steps=5, x0_clip=3.0)
    assert torch.equal(sample(network, changed, known, steps=5, x0_clip=3.0), out)


def test_seed_and_id_choose_the_noise(network: ScoreNetwork):
    latents, known = torch.zeros(2, 4, 6), torch.zeros(2, 4, dtype=torch.bool)
    same = torch.tensor([7, 7])
    first = sample(network.cpu(), latents, known, steps=3, seed=1, sample_ids=same)
    assert torch.equal(first[0], first[1])
    assert not torch.allclose(first[:1], sample(network, latents[:1], known[:1], steps=3, seed=2, sample_ids=same[:1]))
    other = sample(network, latents, known, steps=3, seed=1, sample_ids=torch.tensor([7, 8]))
    assert not torch.allclose(other[0], other[1])


def test_recorded_noise_replaces_drawn_noise(network: ScoreNetwork):
    latents, known = torch.randn(2, 4, 6), masks(2, 4)
    noise = torch.randn(5, 2, 4, 6)
    first, second = (
        sample(network.cpu(), latents, known, steps=5, seed=seed, noise=noise, x0_clip=3.0) for seed in (1, 2)
    )
    assert torch.equal(first, second)


def test_nothing_missing_and_no_rows(network: ScoreNetwork):
    latents = torch.randn(2, 4, 6)
    out = sample(network.cpu(), latents, torch.ones(2, 4, dtype=torch.bool), steps=3)
    assert torch.equal(out, latents)
    assert sample(network, latents[:0], torch.ones(0, 4, dtype=torch.bool), steps=3).shape == (0, 4, 6)


def test_sample_ids_are_stable_hashes():
    assert sample_id("chair/0001") == sample_id("chair/0001", 0)
    ids = {sample_id(f"object {number}", draw) for number in range(500) for draw in range(4)}
    assert len(ids) == 2000
    assert all(-(2**63) <= value < 2**63 for value in ids)
    # A fixed value: changing the hash would change every data set generated so far.
    assert sample_id("train/chair/chair_0001", 1) == -2860398325442221119


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"solver": "heun"}, "unknown solver"),
        ({"solver": ["ddim"]}, "unknown solver"),
        ({"steps": 0}, "steps must be at least 1"),
        ({"steps": np.int64(-3)}, "steps must be at least 1"),
        ({"steps": STEPS_LIMIT + 1}, "steps must be at most 10000, not 10001"),
        ({"steps": 2**63}, "steps must be at most 10000"),
        ({"steps": 2.5}, "steps must be a whole number, not 2.5"),
        ({"steps": 2.0}, "steps must be a whole number"),
        ({"steps": math.nan}, "steps must be a whole number"),
        ({"steps": "3"}, "steps must be a whole number, not '3'"),
        ({"steps": True}, "steps must be a whole number, not True"),
        ({"steps": torch.tensor(True)}, "steps must be a whole number"),
        ({"steps": None}, "steps must be a whole number"),
        ({"backend": "cuda"}, "unknown backend"),
        ({"seed": -1}, "seed must be at least 0"),
        ({"seed": 2**63}, r"seed must be at most 2\^63 - 1"),
        ({"seed": 1.5}, "seed must be a whole number"),
        ({"seed": False}, "seed must be a whole number"),
        ({"seed": "1"}, "seed must be a whole number"),
        ({"x0_clip": 0.0}, "x0_clip must be a number above 0"),
        ({"x0_clip": -1}, "x0_clip must be a number above 0"),
        ({"x0_clip": math.nan}, "x0_clip must be a number above 0"),
        ({"x0_clip": True}, "x0_clip must be a number above 0"),
        ({"x0_clip": "3"}, "x0_clip must be a number above 0"),
        ({"x0_clip": None}, "x0_clip must be a number above 0"),
        ({"latents": np.zeros((2, 4, 6), np.float32)}, "latents must be a tensor, not ndarray"),
        ({"known": [[True] * 4] * 2}, "known must be a tensor, not list"),
        ({"sample_ids": [0, 1]}, "sample_ids must be a tensor, not list"),
        ({"noise": 0}, "noise must be a tensor, not int"),
        ({"latents": torch.zeros(2, 3, 8), "known": torch.zeros(2, 3, dtype=torch.bool)}, "the network takes latents"),
        ({"latents": torch.zeros(2, 4, 6, device="meta")}, "the network is on cpu, the latents are on meta"),
        ({"noise": torch.zeros(3, 2, 4, 6, dtype=torch.int64)}, "noise must be float"),
        ({"known": torch.zeros(2, 3, dtype=torch.bool)}, "known must be bool"),
        ({"known": torch.zeros(2, 4)}, "known must be bool"),
        ({"latents": torch.zeros(2, 24)}, "latents must be float"),
        ({"latents": torch.zeros(2, 4, 6, dtype=torch.int64)}, "latents must be float"),
        ({"sample_ids": torch.zeros(3, dtype=torch.int64)}, "sample_ids must be int64"),
        ({"sample_ids": torch.zeros(2)}, "sample_ids must be int64"),
        ({"noise": torch.zeros(4, 2, 4, 6)}, "noise must be"),
    ],
)
def test_bad_arguments(network: ScoreNetwork, changes, message: str):
    arguments = {
        "latents": torch.zeros(2, 4, 6),
        "known": torch.zeros(2, 4, dtype=torch.bool),
        "steps": 3,
    } | changes
    with pytest.raises((InputError, ValueError), match=message):
        sample(network.cpu(), **arguments)


def test_whole_numbers_of_any_kind(network: ScoreNetwork):
    latents, known = torch.randn(2, 4, 6), masks(2, 4)
    options = {"dtype": torch.float32}
    expected = sample(network.cpu(), latents, known, steps=3, seed=2, x0_clip=2.0, **options)
    for kind in (np.int64, np.uint8, torch.tensor):
        got = sample(network, latents, known, steps=kind(3), seed=kind(2), x0_clip=np.float64(2), **options)
        assert torch.equal(got, expected)
    assert torch.equal(sample(network, latents, known, steps=3, seed=2, x0_clip=2, **options), expected)


def test_the_largest_number_of_steps_has_coefficients_that_tell_steps_apart():
    rows = step_table("euler-maruyama", STEPS_LIMIT).tensor()
    gain = (rows[:, 2].double() - 1).abs()  # of x, beside 1
    exact = torch.tensor(
        [row.a - 1 for row in step_table("euler-maruyama", STEPS_LIMIT).rows], dtype=torch.float64
    ).abs()
    assert float(((gain - exact) / exact).abs().max()) < 1e-3
