"""Several threads, processes and copies with one network: everyone gets what he gets alone."""

from __future__ import annotations

import copy
import gc
import os
import pickle
import signal
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
import torch
from helpers.commands import PATIENCE
from torch import Tensor

from dimvida import ops
from dimvida.models import ScoreNetwork
from dimvida.sampling import engine as engine_module
from dimvida.sampling import sample
from dimvida.sampling.engine import engine_of
from dimvida.sampling.workspace import SPARE

from .conftest import random_inputs, random_network

CPU = torch.device("cpu")

pytestmark = pytest.mark.usefixtures("one_thread")


def draw(network: ScoreNetwork, seed: int, rows: int = 6, dtype: torch.dtype = torch.float32) -> Tensor:
    latents, known = random_inputs(rows, 4, 6, seed)
    return sample(network, latents, known, steps=6, seed=seed, x0_clip=4.0, backend="fused", dtype=dtype)


class Halted:
    """A thread whose trajectory stands still after its third step until it is told to go on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, work: Callable[[], Tensor]) -> None:
        self._inside, self._go_on = threading.Event(), threading.Event()
        self._steps = 0
        self._step = ops.masked_step_
        monkeypatch.setattr(ops, "masked_step_", self._counting)
        self._pool = ThreadPoolExecutor(1)
        self._thread = self._pool.submit(threading.get_ident).result()
        self._future: Future[Tensor] = self._pool.submit(work)
        assert self._inside.wait(PATIENCE)

    def _counting(self, *arguments, **options) -> None:
        self._step(*arguments, **options)
        if threading.get_ident() == self._thread:
            self._steps += 1
            if self._steps == 3:
                self._inside.set()
                assert self._go_on.wait(PATIENCE)

    def result(self) -> Tensor:
        self._go_on.set()
        self._pool.shutdown()
        return self._future.result()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("rows", [6, 3, 20], ids=["same size", "smaller", "larger"])
def test_a_trajectory_in_the_middle_of_another(monkeypatch, rows: int, dtype: torch.dtype):
    network = random_network()
    expected = draw(random_network(), 1, dtype=dtype), draw(random_network(), 2, rows, dtype)
    draw(network, 3, dtype=dtype)  # so that there is a workspace to share
    halted = Halted(monkeypatch, lambda: draw(network, 1, dtype=dtype))
    assert torch.equal(draw(network, 2, rows, dtype), expected[1])
    assert torch.equal(halted.result(), expected[0])


def test_weights_that_change_during_a_trajectory(monkeypatch):
    network, other = random_network(), random_network(seed=1)
    before, after = draw(random_network(), 1), draw(other, 2)
    halted = Halted(monkeypatch, lambda: draw(network, 1))
    network.load_state_dict(other.state_dict())
    assert torch.equal(draw(network, 2), after)
    assert torch.equal(halted.result(), before)
    assert torch.equal(draw(network, 2), after)


def test_many_threads_from_the_first_call_on():
    network, seeds = random_network(), range(8)
    expected = [draw(random_network(), seed) for seed in seeds]
    gate = threading.Barrier(len(seeds))

    def work(seed: int) -> list[Tensor]:
        gate.wait(PATIENCE)
        return [draw(network, seed) for _ in range(5)]

    with ThreadPoolExecutor(len(seeds)) as pool:
        for seed, results in enumerate(pool.map(work, seeds)):
            assert all(torch.equal(result, expected[seed]) for result in results)
    builds = engine_of(network, torch.float32, CPU).builds
    assert builds["weights"] == 1 and builds["buffers"] <= len(seeds)


def test_a_failed_trajectory_spoils_none_after_it(monkeypatch):
    network = random_network()
    expected = draw(network, 1)

    def fail(*arguments, **options):
        raise MemoryError("in the middle")

    with monkeypatch.context() as patch:
        patch.setattr(ops, "masked_step_", fail)
        with pytest.raises(MemoryError):
            draw(network, 2)
    assert torch.equal(draw(network, 1), expected)


def test_workspaces_are_as_many_as_trajectories_at_once():
    pool = engine_of(random_network(), torch.float32, CPU)._pool
    with pool.workspace(CPU) as first, pool.workspace(CPU) as second:
        assert first is not second
    with pool.workspace(CPU) as again:
        assert again in (first, second)
    for count in (SPARE, 2 * SPARE):
        for _ in range(2):
            leases = [pool.workspace(CPU) for _ in range(count)]
            lent = [lease.__enter__() for lease in leases]
            assert len(set(map(id, lent))) == count
            for lease in leases:
                lease.__exit__(None, None, None)
            assert len(pool._spare) == count


def test_a_forked_process_does_not_give_up_what_was_kept():
    """A graph of a GPU cannot be: its library complains where there is no context."""
    network, given_up = random_network(), os.memfd_create("given up")
    weakref.finalize(engine_of(network, torch.float32, CPU), os.write, given_up, b"engine")  # no other reference
    child = os.fork()
    if not child:
        grandchild = os.fork()
        gc.collect()
        below = os.waitstatus_to_exitcode(os.waitpid(grandchild, 0)[1]) if grandchild else 0
        os._exit(below or os.fstat(given_up).st_size)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_forked_process_samples_though_the_locks_were_held():
    network = random_network()
    expected = draw(network, 1)
    engine = engine_of(network, torch.float32, CPU)
    # Held as by other threads, which a fork does not take along.
    with engine_module._ENGINES._lock, engine._weights._lock, engine._lock, engine._pool._lock:
        child = os.fork()
        if not child:
            status = 1
            signal.alarm(PATIENCE)
            try:
                status = 0 if torch.equal(draw(network, 1), expected) else 2
            finally:
                os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize(
    "duplicate", [copy.deepcopy, lambda network: pickle.loads(pickle.dumps(network))], ids=["deepcopy", "pickle"]
)
def test_a_copy_of_a_network_in_use_is_a_network_of_its_own(duplicate):
    network = random_network()
    expected = draw(network, 1)
    twin = duplicate(network)
    with torch.no_grad():
        twin.input.weight.mul_(2)
    changed = draw(twin, 1)
    assert torch.equal(draw(network, 1), expected) and not torch.equal(changed, expected)
    with torch.no_grad():
        twin.input.weight.div_(2)
    assert torch.equal(draw(twin, 1), expected)
