"""The generator against known answers, and noise that belongs to the sample."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dimvida import ops
from dimvida.ops import reference, registration
from dimvida.ops.steps import normals_of_words

# Random123 1.14, tests/kat_vectors, "philox4x32 10": counter, key, words.
KNOWN_ANSWERS = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]
INT64 = st.integers(-(2**63), 2**63 - 1)


def words(text: str) -> list[int]:
    return [int(word, 16) for word in text.split()]


@pytest.mark.parametrize("counter, key, answer", KNOWN_ANSWERS)
@pytest.mark.parametrize("backend", [ops.philox4x32, reference.philox4x32], ids=["op", "reference"])
def test_random123_known_answers(backend, counter, key, answer, device):
    got = backend(torch.tensor([words(counter)], device=device), torch.tensor(words(key), device=device))
    assert got.tolist() == [words(answer)]


@given(counters=st.lists(st.tuples(INT64, INT64, INT64, INT64), max_size=9), key=st.tuples(INT64, INT64))
@settings(max_examples=50, deadline=None)
def test_words_agree_with_reference(counters, key):
    counters = torch.tensor(counters, dtype=torch.int64).reshape(-1, 4)
    key = torch.tensor(key)
    assert torch.equal(ops.philox4x32(counters, key), reference.philox4x32(counters, key))


def fill(shape, ids, seed, draw, device="cpu"):
    z = torch.full(shape, math.nan, device=device)
    ops.philox_normal_(z, torch.tensor(ids, device=device), torch.tensor([seed], device=device), draw)
    return z


@given(
    ids=st.lists(INT64, max_size=4),
    shape=st.lists(st.integers(0, 37), min_size=0, max_size=2),
    seed=INT64,
    draw=st.integers(0, 2**32 - 1),
)
@settings(max_examples=60, deadline=None)
def test_normals_agree_with_reference(ulp_distance, ids, shape, seed, draw):
    shape = (len(ids), *shape)
    ids = torch.tensor(ids, dtype=torch.int64)
    seed = torch.tensor([seed])
    native_z, reference_z = torch.full(shape, math.nan), torch.full(shape, math.nan)
    ops.philox_normal_(native_z, ids, seed, draw)
    reference.philox_normal_(reference_z, ids, seed, draw)
    assert native_z.isfinite().all()
    assert (ulp_distance(native_z, reference_z) <= 4).all()


def test_normals_are_within_four_ulp_of_float64(ulp_distance, device):
    ids, seed = torch.arange(64, device=device), torch.tensor([2024], device=device)
    z, exact = torch.empty((64, 30_001), device=device), torch.empty((64, 30_001), device=device)
    ops.philox_normal_(z, ids, seed, 7)
    reference.philox_normal_(exact, ids, seed, 7)
    distance = ulp_distance(z, exact)
    assert distance.max() <= 4
    assert distance.float().mean() < 0.6


def test_extreme_words_give_finite_normals():
    # The words whose uniforms, quadrants and signs lie on the edges of the transform.
    edges = [0, 1, 2**29 - 1, 2**29, 2**30, 2**31 - 1, 2**31, 2**31 + 2**30, 2**32 - 2**29, 2**32 - 1]
    grid = torch.cartesian_prod(torch.tensor(edges), torch.tensor(edges))
    z = normals_of_words(torch.cat([grid, grid], dim=-1))
    assert z.isfinite().all()
    assert z.abs().max() == pytest.approx(math.sqrt(2 * 33 * math.log(2)))


def test_moments_are_those_of_a_standard_normal(device):
    z = fill((200, 10_000), list(range(200)), 3, 0, device).double().cpu()
    n = z.numel()
    # Five standard errors of each moment: sqrt(var(z^k) / n).
    for power, mean, variance in [(1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)]:
        assert abs((z**power).mean() - mean) < 5 * math.sqrt(variance / n)
    assert abs((z.abs() < 1).double().mean() - 0.682689) < 5 * math.sqrt(0.2166 / n)
    neighbours = (z[:, 1:] * z[:, :-1]).mean()
    samples = (z[1:] * z[:-1]).mean()
    assert max(abs(neighbours), abs(samples)) < 5 / math.sqrt(n)


def test_noise_of_a_sample_does_not_depend_on_its_batch(device):
    ids = [11, -(2**63), 2**40, 0, 7]
    whole = fill((5, 4, 9), ids, 5, 2, device)
    for place, sample_id in enumerate(ids):
        assert torch.equal(fill((1, 4, 9), [sample_id], 5, 2, device)[0], whole[place])
    assert torch.equal(fill((5, 4, 9), ids[::-1], 5, 2, device), whole.flip(0))


def test_a_longer_sample_begins_with_the_shorter_one(device):
    assert torch.equal(fill((2, 5), [1, 2], 9, 0, device), fill((2, 4001), [1, 2], 9, 0, device)[:, :5])


def test_seed_draw_and_sample_each_change_the_noise():
    base = fill((1, 64), [1], 1, 1)
    for ids, seed, draw in [([2], 1, 1), ([1 + 2**32], 1, 1), ([1], 2, 1), ([1], 1 + 2**32, 1), ([1], 1, 2)]:
        assert not torch.isclose(fill((1, 64), ids, seed, draw), base).any()


@pytest.mark.parametrize("simd", ops.build_info()["simd_supported"])
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_every_thread_count_and_instruction_set_gives_the_same_bits(simd, threads):
    ids, seed = torch.tensor([5, 6, 7]), torch.tensor([1])
    expected, z = torch.empty(3, 33_333), torch.empty(3, 33_333)
    ops.philox_normal_(expected, ids, seed, 1)
    registration.OPS["philox_normal_"].on_cpu(z, ids, seed, 1, threads=threads, simd=simd)
    assert torch.equal(z, expected)
    counters = torch.randint(0, 2**32, (9_001, 4))
    key = torch.tensor([3, 4])
    assert torch.equal(
        registration.OPS["philox4x32"].on_cpu(counters, key, threads=threads, simd=simd), ops.philox4x32(counters, key)
    )


def test_an_unknown_instruction_set_is_refused():
    with pytest.raises(ValueError, match="mmx"):
        registration.OPS["philox_normal_"].on_cpu(
            torch.empty(1, 4), torch.tensor([1]), torch.tensor([1]), 0, simd="mmx"
        )


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device is visible")
def test_cpu_and_gpu_normals_are_identical():
    assert torch.equal(fill((7, 1001), list(range(7)), 1, 3), fill((7, 1001), list(range(7)), 1, 3, "cuda").cpu())
