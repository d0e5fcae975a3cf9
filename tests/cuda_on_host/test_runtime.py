"""The stand-in for the CUDA runtime: does what a GPU does, and reports what a GPU leaves undefined."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

kernels = pytest.importorskip("kernels_on_host", reason="this is no build of the CUDA kernels for the host")

SUCCESS, INVALID_VALUE, INVALID_CONFIGURATION, LAUNCH_FAILURE = 0, 1, 9, 719
ALL = 0xFFFFFFFF
BY_INDEX, UP, DOWN, XOR, BALLOT = range(5)


@pytest.mark.parametrize("grid", [(1, 1, 1), (5, 1, 1), (3, 2, 4)])
@pytest.mark.parametrize("block", [(1, 1, 1), (33, 1, 1), (1024, 1, 1), (7, 3, 2), (1, 1, 64)])
def test_every_thread_of_every_block_runs_once(grid, block):
    counts = torch.zeros(math.prod(grid) * math.prod(block), dtype=torch.int32)
    assert kernels.places(counts.data_ptr(), grid, block) == SUCCESS
    assert (counts == 1).all()


@pytest.mark.parametrize(
    ("grid", "block"),
    [
        ((0, 1, 1), (32, 1, 1)),
        ((1, 65536, 1), (32, 1, 1)),
        ((1, 1, 1), (0, 1, 1)),
        ((1, 1, 1), (1025, 1, 1)),
        ((1, 1, 1), (32, 32, 2)),
        ((1, 1, 1), (1, 1, 65)),
    ],
)
def test_shapes_that_no_gpu_takes_are_refused_and_the_error_is_not_left_behind(grid, block):
    assert kernels.places(0, grid, block) == INVALID_CONFIGURATION
    assert kernels.last_error() == SUCCESS


def test_more_shared_memory_than_every_gpu_has_is_refused():
    assert kernels.sum(0, 0, 0, 0, 48 * 1024 + 1, 1, 32) == INVALID_VALUE


def shuffled(kind, values, operand, width):
    """shfl.sync of the PTX manual, for one warp."""
    results = []
    for lane, own in enumerate(values):
        first = lane - lane % width
        last = first + width - 1
        source = {
            BY_INDEX: first + operand % width,
            UP: lane - operand,
            DOWN: lane + operand,
            XOR: lane ^ operand,
        }[kind]
        # Lanes of an earlier part of the warp can be read by xor, those of a later one never.
        readable = {BY_INDEX: True, UP: source >= first, DOWN: source <= last, XOR: source <= last}[kind]
        results.append(values[source] if readable else own)
    return results


@given(
    kind=st.sampled_from([BY_INDEX, UP, DOWN, XOR]),
    operand=st.integers(0, 31),
    width=st.sampled_from([1, 2, 4, 8, 16, 32]),
    warps=st.integers(1, 3),
)
def test_shuffles(kind, operand, width, warps):
    values = torch.randn(32 * warps)
    results = torch.empty_like(values)
    status = kernels.shuffle(values.data_ptr(), results.data_ptr(), kind, operand, width, ALL, 32 * warps)
    assert status == SUCCESS
    for part, result in zip(values.split(32), results.split(32), strict=True):
        assert result.tolist() == shuffled(kind, part.tolist(), operand, width)


def test_ballot():
    values = torch.zeros(32)
    values[[0, 3, 23]] = 1.0
    results = torch.empty(32)
    assert kernels.shuffle(values.data_ptr(), results.data_ptr(), BALLOT, 0, 32, ALL, 32) == SUCCESS
    assert (results == 2**0 + 2**3 + 2**23).all()


def run_sums(values, threads, *, slots=None, shared=None):
    blocks = -(-len(values) // threads)
    sums = torch.empty(blocks)
    warps = threads // 32
    status = kernels.sum(
        values.data_ptr(),
        sums.data_ptr(),
        len(values),
        warps if slots is None else slots,
        4 * (warps if shared is None else shared),
        blocks,
        threads,
    )
    assert status == SUCCESS
    return sums


@pytest.mark.parametrize("threads", [32, 128, 1024])
@pytest.mark.parametrize("count", [1, 127, 5000])
def test_a_sum_over_warps_and_shared_memory(threads, count):
    values = torch.randint(-100, 100, (count,)).float()
    expected = torch.stack([part.sum() for part in values.split(threads)])
    assert torch.equal(run_sums(values, threads), expected)


def test_shared_memory_that_nobody_wrote_is_nan_in_every_block():
    values = torch.ones(256)
    assert run_sums(values, 64).isfinite().all()
    # One slot more than there are warps, and room for it.
    assert run_sums(values, 64, slots=3, shared=3).isnan().all()


@pytest.mark.parametrize("distance", [-1, 1])
def test_a_missing_barrier_changes_the_result(distance):
    blocks, threads = 2, 64
    expected = ((torch.arange(threads) + distance) % threads).float().repeat(blocks)
    results = torch.empty(blocks * threads)
    assert kernels.race(results.data_ptr(), distance, True, blocks, threads) == SUCCESS
    assert torch.equal(results, expected)
    # Threads take turns in one direction in the first block, in the other in the second: one of them shows it.
    assert kernels.race(results.data_ptr(), distance, False, blocks, threads) == SUCCESS
    assert not torch.equal(results, expected)


@pytest.mark.parametrize(
    ("kind", "states"),
    [
        (0, ["thread (0, 0, 0) is at __syncthreads (runtime_kernels.cuh:", "thread (3, 0, 0) has returned"]),
        (1, ["thread (0, 0, 0) is at __syncthreads", "thread (32, 0, 0) is at __syncthreads"]),
        (2, ["thread (0, 0, 0) is at __shfl_xor_sync", "thread (5, 0, 0) is at __syncthreads"]),
        (3, ["thread (0, 0, 0) has returned", "thread (1, 0, 0) is at __syncwarp (runtime_kernels.cuh:"]),
        (4, ["thread (0, 0, 0) is at __shfl_down_sync", "width 16), thread (16, 0, 0) is at __shfl_down_sync"]),
    ],
)
def test_a_barrier_that_not_all_threads_reach_is_an_error_that_says_who_is_where(kind, states):
    assert kernels.diverge(kind) == LAUNCH_FAILURE
    message = kernels.error_string(LAUNCH_FAILURE)
    assert message.startswith("the threads of block (0, 0, 0) wait for each other:")
    for state in states:
        assert state in message
    assert kernels.last_error() == SUCCESS
    # Threads that never came to their end do not disturb the next launch.
    assert torch.equal(run_sums(torch.ones(64), 64), torch.tensor([64.0]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threads": 48}, "wait for each other"),  # the second warp lacks lanes that the mask names
        ({"mask": 0x0000FFFF, "threads": 16, "operand": 20}, "reads lane 20, which the mask does not name"),
        ({"mask": 0xFFFFFFFE}, "thread (0, 0, 0) of block (0, 0, 0)"),
        ({"width": 5}, "has width 5, which is no power of two up to 32"),
        ({"width": 64}, "has width 64"),
    ],
)
def test_a_shuffle_that_means_nothing_is_an_error(options, message):
    options = {"kind": BY_INDEX, "operand": 0, "width": 32, "mask": ALL, "threads": 32, **options}
    values, results = torch.zeros(64), torch.zeros(64)
    status = kernels.shuffle(values.data_ptr(), results.data_ptr(), *options.values())
    assert status == LAUNCH_FAILURE
    assert message in kernels.error_string(status)
