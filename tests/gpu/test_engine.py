"""The fused engine on a GPU: parity with the eager loop on the CPU, graphs, streams, devices, rebuilding."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from helpers.networks import tiny_transformer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dimvida.diffusion.solvers import SOLVERS
from dimvida.sampling import sample
from dimvida.sampling.engine import engine_of
from dimvida.sampling.modulation import Modulation

FLOAT32 = {"backend": "fused", "dtype": torch.float32}
CLOSE = {"rtol": 1e-4, "atol": 1e-4}


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_shape_agrees_with_the_eager_loop_on_the_cpu(make_network, make_inputs, data):
    views, dim = data.draw(st.integers(2, 6)), data.draw(st.sampled_from([1, 3, 8, 17, 64]))
    groups = data.draw(st.sampled_from([1, 3, 8]))
    width = groups * data.draw(st.sampled_from([1, 4, 13]))
    network = make_network(views, dim, width, groups, seed=data.draw(st.integers(0, 9)))
    known = data.draw(st.sampled_from([0.0, 0.4, 1.0]))
    latents, known = make_inputs(data.draw(st.integers(0, 70)), views, dim, known=known)
    options = {
        "solver": data.draw(st.sampled_from(sorted(SOLVERS))),
        "steps": data.draw(st.integers(1, 6)),
        "seed": data.draw(st.integers(0, 2**63 - 1)),
        "prediction": data.draw(st.sampled_from(["noise", "velocity"])),
        "x0_clip": 3.0,
    }
    expected = sample(network, latents, known, backend="eager", **options)
    got = sample(network.cuda(), latents.cuda(), known.cuda(), **FLOAT32, **options)
    torch.testing.assert_close(got.cpu(), expected, **CLOSE)
    assert torch.equal(got.cpu()[known], latents[known])


@pytest.mark.parametrize("backend", ["eager", "fused"])
@pytest.mark.parametrize("solver", SOLVERS)
def test_each_backend_agrees_with_the_cpu(device, make_network, make_inputs, solver: str, backend: str):
    latents, known = make_inputs(33, 4, 64)
    network = make_network(4, 64, 96, 8)
    options = {"solver": solver, "steps": 10, "seed": 7, "x0_clip": 3.0}
    expected = sample(network, latents, known, backend="eager", **options)
    dtype = torch.float32 if backend == "fused" else None
    got = sample(network.to(device), latents.to(device), known.to(device), backend=backend, dtype=dtype, **options)
    assert got.device == device
    torch.testing.assert_close(got.cpu(), expected, **CLOSE)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_a_low_dtype_is_near_and_is_really_used(device, make_network, make_inputs, dtype: torch.dtype):
    latents, known = (tensor.to(device) for tensor in make_inputs(256, 4, 64))
    network = make_network(4, 64, 256, 8, std=0.02).to(device)
    options = {"steps": 20, "solver": "sde-dpmpp-2m", "x0_clip": 3.0, "prediction": "velocity", "backend": "fused"}
    exact, low = (sample(network, latents, known, dtype=kind, **options) for kind in (torch.float32, dtype))
    error = (low - exact)[~known].square().mean().sqrt() / exact[~known].square().mean().sqrt()
    # A number in bfloat16 is off by up to 2^-9 of itself.
    assert 0 < error < 0.01
    assert torch.equal(low[known], latents[known])


def test_only_the_noise_is_left_of_a_network_that_returns_zeros(device, make_network, make_inputs):
    latents, known = make_inputs(50, 4, 6)
    network = make_network(std=0.0)
    options = {"steps": 30, "seed": 5, "x0_clip": 3.0}
    expected = sample(network, latents, known, backend="eager", **options)
    got = sample(network.to(device), latents.to(device), known.to(device), **FLOAT32, **options)
    torch.testing.assert_close(got.cpu(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("views", [2, 4, 7])
@pytest.mark.parametrize("solver", SOLVERS)
def test_a_transformer_agrees_with_the_eager_loop_on_the_cpu(device, make_inputs, solver: str, views: int):
    network = tiny_transformer(4, (2, 4, 4))
    latents, known = make_inputs(33, views, 32)
    options = {"solver": solver, "steps": 6, "seed": 7, "x0_clip": 3.0, "views": torch.arange(views) % 4}
    expected = sample(network, latents, known, backend="eager", **options)
    network, latents, known = network.to(device), latents.to(device), known.to(device)
    got = sample(network, latents, known, **FLOAT32, **options)
    torch.testing.assert_close(got.cpu(), expected, **CLOSE)
    assert engine_of(network, torch.float32, device).builds["graph"] == 1
    engine_of(network, torch.float32, device).graphs = False
    assert torch.equal(sample(network, latents, known, **FLOAT32, **options), got)
    low = sample(network, latents, known, backend="fused", dtype=torch.bfloat16, **options)
    assert 0 < (low - got)[~known].square().mean().sqrt() < 0.05 * got[~known].square().mean().sqrt()


@pytest.mark.parametrize("counts", [(1,), (2,), (3,), (1, 2, 3), (0, 3, 4)], ids=str)
@pytest.mark.parametrize("solver", ["ddim", "sde-dpmpp-2m", "repaint-mean"])
def test_known_views_that_are_computed_once_agree_with_the_cpu(device, make_inputs, solver: str, counts, monkeypatch):
    """Of a transformer whose known views attend to known ones; rows know as many views as counts say, in turn."""
    network, kept = tiny_transformer(4, (2, 4, 4), known_attend="known"), []
    latents, _ = make_inputs(33, 4, 32)
    places = torch.rand(33, 4, generator=torch.Generator().manual_seed(1)).argsort(1)
    known = places < torch.tensor([counts[row % len(counts)] for row in range(33)])[:, None]
    options = {"solver": solver, "steps": 6, "seed": 7, "x0_clip": 3.0, "prediction": "velocity"}
    expected = sample(network, latents, known, backend="eager", **options)
    later = Modulation.later
    monkeypatch.setattr(Modulation, "later", lambda self: kept.append(self.kept is not None) or later(self))
    network, latents = network.to(device), latents.to(device)
    eager = sample(network, latents, known.to(device), backend="eager", **options)
    torch.testing.assert_close(eager.cpu(), expected, **CLOSE)
    got = sample(network, latents, known, **FLOAT32, **options)
    torch.testing.assert_close(got.cpu(), expected, **CLOSE)
    assert torch.equal(got.cpu()[known], latents.cpu()[known])
    assert kept and all(kept) == (0 not in counts)  # a row that lacks all views leaves none to keep
    engine = engine_of(network, torch.float32, device)
    assert engine.builds["graph"] == 1
    engine.graphs = False
    assert torch.equal(sample(network, latents, known, **FLOAT32, **options), got)
    # Where the GPU alone knows which are known, all are computed in every evaluation, rather than waiting for it.
    everywhere = sample(network, latents, known.to(device), **FLOAT32, **options)
    torch.testing.assert_close(everywhere, got, **CLOSE)
    low = sample(network, latents, known, backend="fused", dtype=torch.bfloat16, **options)
    assert 0 < (low - got)[~known].square().mean().sqrt() < 0.05 * got[~known].square().mean().sqrt()


def test_threads_on_streams_of_their_own_while_others_wait_for_events(device, make_network, make_inputs):
    network, count, stop = make_network(4, 64, 256, 8).to(device), 4, threading.Event()
    cases = [tuple(tensor.to(device) for tensor in make_inputs(200, 4, 64, seed=i)) for i in range(count)]
    options = {"steps": 10, "x0_clip": 3.0, **FLOAT32}
    alone = make_network(4, 64, 256, 8).to(device)
    expected = [sample(alone, *case, seed=i, **options) for i, case in enumerate(cases)]
    torch.cuda.synchronize(device)

    def wait_for_events() -> None:  # as the threads that pack and write: an unsafe call for a capture in strict mode
        stream, pinned = torch.cuda.Stream(device), torch.empty(1000, pin_memory=True)
        while not stop.is_set():
            with torch.cuda.device(device), torch.cuda.stream(stream):
                pinned.copy_(torch.zeros(1000, device=device), non_blocking=True)
                stream.record_event().synchronize()

    def work(number: int) -> list[torch.Tensor]:
        with torch.cuda.device(device), torch.cuda.stream(torch.cuda.Stream(device)):
            results = [sample(network, *cases[number], seed=number, **options) for _ in range(5)]
            torch.cuda.current_stream().synchronize()
            return results

    waiting = threading.Thread(target=wait_for_events)
    waiting.start()
    try:
        with ThreadPoolExecutor(count) as pool:
            for number, results in enumerate(pool.map(work, range(count))):
                assert all(torch.equal(result, expected[number]) for result in results)
    finally:
        stop.set()
        waiting.join()


def test_modes_of_the_caller_change_nothing(device, make_network, make_inputs):
    latents, known = (tensor.to(device) for tensor in make_inputs(20))
    options = {"steps": 4, "x0_clip": 3.0, **FLOAT32}
    expected = sample(make_network().to(device), latents, known, **options)
    network = make_network().to(device)
    with torch.inference_mode(), torch.autocast("cuda", dtype=torch.bfloat16):
        assert torch.equal(sample(network, latents, known, **options), expected)
    assert torch.equal(sample(network, latents, known, **options), expected)
    with torch.device("meta"):
        assert torch.equal(sample(network, latents, known, **options), expected)


def test_new_weights_give_new_samples(device, make_network, make_inputs):
    latents, known = make_inputs(9)
    network = make_network().to(device)
    options = {"steps": 4, "x0_clip": 3.0}
    before = sample(network, latents.to(device), known.to(device), **FLOAT32, **options)
    network.load_state_dict(make_network(seed=1).state_dict())
    after = sample(network, latents.to(device), known.to(device), **FLOAT32, **options)
    expected = sample(make_network(seed=1), latents, known, backend="eager", **options)
    torch.testing.assert_close(after.cpu(), expected, **CLOSE)
    assert not torch.allclose(after, before)


@pytest.mark.parametrize("warm", [False, True], ids=["first run", "replay"])
def test_work_is_queued_on_the_callers_stream(device, make_network, make_inputs, warm: bool):
    latents, known = make_inputs(64)
    network = make_network().to(device)
    options = {"steps": 4, "x0_clip": 3.0}
    expected = sample(make_network(), latents, known, backend="eager", **options)
    given, known = latents.to(device), known.to(device)
    if warm:
        sample(network, given, known, **FLOAT32, **options)
    torch.cuda.synchronize(device)
    stream = torch.cuda.Stream(device)
    late = torch.zeros_like(given)
    with torch.cuda.device(device), torch.cuda.stream(stream):
        torch.cuda._sleep(200_000_000)  # about a tenth of a second: what does not wait in this stream reads zeros
        late.copy_(given)
        out = sample(network, late, known, **FLOAT32, **options)
        copied = out.clone()
    stream.synchronize()
    torch.testing.assert_close(copied.cpu(), expected, **CLOSE)


def test_two_streams_do_not_disturb_each_other(device, make_network, make_inputs):
    network = make_network(4, 64, 512, 8).to(device)
    cases = [tuple(tensor.to(device) for tensor in make_inputs(2000, 4, 64, known=0.0, seed=i)) for i in range(2)]
    options = {"steps": 20, "x0_clip": 3.0, **FLOAT32}
    expected = [sample(network, *case, seed=i, **options) for i, case in enumerate(cases)]
    torch.cuda.synchronize(device)
    streams = [torch.cuda.Stream(device) for _ in cases]
    for _ in range(5):
        results = []
        for i, (case, stream) in enumerate(zip(cases, streams, strict=True)):
            with torch.cuda.device(device), torch.cuda.stream(stream):
                results.append(sample(network, *case, seed=i, **options))
        torch.cuda.synchronize(device)
        for got, want in zip(results, expected, strict=True):
            assert torch.equal(got, want)


def test_the_current_device_stays(device, make_network, make_inputs):
    latents, known = (tensor.to(device) for tensor in make_inputs(5))
    before = torch.cuda.current_device()
    sample(make_network().to(device), latents, known, steps=2, **FLOAT32)
    assert torch.cuda.current_device() == before


def test_one_network_on_two_devices(make_network, make_inputs):
    if torch.cuda.device_count() < 2:
        pytest.skip("one GPU only")
    latents, known = make_inputs(9)
    network, results = make_network(), []
    for index in (0, 1, 0):
        place = torch.device("cuda", index)
        results.append(sample(network.to(place), latents.to(place), known.to(place), steps=3, **FLOAT32).cpu())
    torch.testing.assert_close(results[1], results[0], **CLOSE)
    assert torch.equal(results[2], results[0])


@pytest.mark.parametrize("backend", ["eager", "fused"])
def test_no_rows_and_nothing_missing(device, make_network, make_inputs, backend: str):
    network = make_network().to(device)
    latents, known = (tensor.to(device) for tensor in make_inputs(3))
    assert sample(network, latents[:0], known[:0], steps=3, backend=backend).shape == (0, 4, 6)
    everything = torch.ones_like(known)
    assert torch.equal(sample(network, latents, everything, steps=3, backend=backend), latents)


def test_many_views_and_a_large_batch(device, make_network, make_inputs):
    latents, known = make_inputs(3000, 24, 3)
    network = make_network(24, 3, 32, 4)
    expected = sample(network, latents[-5:], known[-5:], sample_ids=torch.arange(2995, 3000), steps=3, backend="eager")
    got = sample(network.to(device), latents.to(device), known.to(device), steps=3, **FLOAT32)
    torch.testing.assert_close(got[-5:].cpu(), expected, **CLOSE)


def test_auto_is_the_engine_in_bfloat16_where_the_hardware_has_it(device, make_network, make_inputs):
    network = make_network().to(device)
    latents, known = (tensor.to(device) for tensor in make_inputs(9))
    dtype = torch.bfloat16 if torch.cuda.get_device_capability(device) >= (8, 0) else torch.float32
    expected = sample(network, latents, known, steps=3, backend="fused", dtype=dtype)
    assert torch.equal(sample(network, latents, known, steps=3), expected)
