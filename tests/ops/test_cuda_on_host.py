"""The CUDA kernels, compiled for the host, against the CPU kernels: no GPU, but their own source.

Skipped in the usual build of the native module; scripts/sanitize.py makes the one that has them.
"""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dimvida import ops
from dimvida.ops import native, registration

from .conftest import FLOATING, SHAPES, finish, params_of, same, unaligned

kernels = pytest.importorskip("kernels_on_host", reason="this is no build of the CUDA kernels for the host")

INT64 = st.integers(-(2**63), 2**63 - 1)

# (sigma, m, a, b, c, d) with every combination of terms that the kernels tell apart.
ROWS = [
    (0.8, 0.6, 0.5, 0.4, -0.1, 0.3),
    (0.8, 0.6, 0.5, 0.4, 0.0, 0.3),
    (0.8, 0.6, 0.5, 0.0, -0.1, 0.0),
    (0.8, 0.6, 0.9, 0.0, 0.0, 0.4),
    (0.8, 0.6, 1.0, 0.0, 0.0, 0.0),
]


@st.composite
def step_options(draw):
    return dict(
        batch=draw(st.integers(0, 7)),
        views=draw(st.integers(1, 24)),
        dim=draw(st.sampled_from([0, 1, 2, 3, 4, 5, 7, 8, 12, 31, 64, 65])),
        row=draw(st.sampled_from(ROWS)),
        out_dtype=draw(st.sampled_from(FLOATING)),
        cast_dtype=draw(st.sampled_from([None, *FLOATING])),
        step_dtype=draw(st.sampled_from([torch.int32, torch.int64])),
        noise=draw(st.booleans()),
        clip=draw(st.sampled_from([math.inf, 0.5])),
        known=draw(st.sampled_from([0.0, 0.4, 1.0])),
        seed=draw(st.integers(0, 2**31)),
    )


def assert_same_step(got, expected):
    assert same(got.x, expected.x)
    assert same(got.x0_prev, expected.x0_prev)
    assert same(got.x_cast, expected.x_cast)


@given(options=step_options(), moved=st.sets(st.sampled_from(["x", "x0_prev", "model_output", "noise", "x_cast"])))
def test_masked_step_through_its_launcher(make_step, options, moved):
    case = make_step(**options)
    expected = case.clone()
    registration.OPS["masked_step_"].on_cpu(*expected.args())
    got = case.clone()
    got = replace(got, **{name: unaligned(getattr(got, name)) for name in moved})
    finish(native._native.masked_step_cuda(params_of("masked_step_", *got.args()), 0))
    assert_same_step(got, expected)


@given(options=step_options(), shape=st.sampled_from(SHAPES))
def test_masked_step_of_any_quads_in_every_grid(make_step, options, shape):
    options["batch"] = max(1, options["batch"])
    options["dim"] = max(1, options["dim"])
    case = make_step(**options)
    expected, got = case.clone(), case.clone()
    registration.OPS["masked_step_"].on_cpu(*expected.args())
    finish(kernels.masked_step(params_of("masked_step_", *got.args()), *shape))
    assert_same_step(got, expected)


ALIGNED_STEP = dict(batch=3, views=2, dim=8, out_dtype=torch.bfloat16, cast_dtype=torch.bfloat16)


def test_which_steps_are_of_aligned_quads(make_step):
    def of_aligned_quads(case) -> bool:
        return kernels.masked_step_is_of_aligned_quads(params_of("masked_step_", *case.args()))

    case = make_step(**ALIGNED_STEP, noise=True)
    assert of_aligned_quads(case) and of_aligned_quads(replace(case, x_cast=None, noise=None))
    assert not of_aligned_quads(make_step(**ALIGNED_STEP | dict(dim=6)))
    assert not of_aligned_quads(make_step(**ALIGNED_STEP | dict(cast_dtype=torch.float16)))
    for name in ("x", "x0_prev", "model_output", "noise", "x_cast", "table"):
        assert not of_aligned_quads(replace(case, **{name: unaligned(getattr(case, name))})), name


@pytest.mark.parametrize("step", [-1, 3, 2**31 - 1])
def test_a_step_outside_the_table_changes_nothing(make_step, step):
    case = replace(make_step(), step=torch.tensor([step]))
    got = case.clone()
    finish(native._native.masked_step_cuda(params_of("masked_step_", *got.args()), 0))
    assert_same_step(got, case)


def sample_ids(batch: int, seed: int):
    return torch.randint(-(2**63), 2**63 - 1, (batch,), generator=torch.Generator().manual_seed(seed))


@given(
    batch=st.integers(0, 5),
    count=st.integers(0, 70) | st.sampled_from([1023, 1025, 4097]),
    seed=INT64,
    draw=st.integers(0, 2**32 - 1),
    shape=st.sampled_from([None, *SHAPES]),
)
def test_philox_normal(batch, count, seed, draw, shape):
    ids, seed = sample_ids(batch, batch + count), torch.tensor([seed])
    expected, got = torch.full((2, batch, count), math.nan)
    registration.OPS["philox_normal_"].on_cpu(expected, ids, seed, draw)
    params = params_of("philox_normal_", got, ids, seed, draw)
    finish(kernels.philox_normal(params, *shape) if shape else native._native.philox_normal_cuda(params, 0))
    assert same(got, expected)
    assert got.isfinite().all()


@given(
    count=st.integers(0, 300),
    key=st.tuples(INT64, INT64),
    seed=st.integers(0, 2**31),
    shape=st.sampled_from([None, *SHAPES]),
)
def test_philox_words(count, key, seed, shape):
    counters = torch.randint(-(2**63), 2**63 - 1, (count, 4), generator=torch.Generator().manual_seed(seed))
    key = torch.tensor(key)
    words = torch.full_like(counters, -1)
    params = params_of("philox4x32", counters, key, words)
    finish(kernels.philox4x32(params, *shape) if shape else native._native.philox4x32_cuda(params, 0))
    assert torch.equal(words, registration.OPS["philox4x32"].on_cpu(counters, key))


def nowhere(name: str, **numbers):
    """Parameters of a kernel by their numbers, without memory: all that the choice of a kernel looks at."""
    return getattr(native._native, f"{name}_params")(numbers)


def test_offsets_that_do_not_fit_32_bits_are_left_to_other_kernels():
    codes = native._native.DTYPES
    bfloat16 = codes["bfloat16"]
    norm = dict.fromkeys(("left_stride", "right_stride", "out_stride", "width", "left_width"), 1536)
    norm |= dict(time_bias_row_stride=1536, time_bias_step_stride=1536, time_bias_rows=4, time_bias_steps=20, groups=32)
    norm |= dict(batch=4096, eps=1e-5, left_dtype=bfloat16, out_dtype=bfloat16, step_dtype=codes["int64"])
    assert kernels.group_norm_silu_is_held(nowhere("group_norm_silu", **norm))
    for far in (dict(batch=2**20), dict(out_stride=2**20), dict(time_bias_row_stride=2**30)):
        assert not kernels.group_norm_silu_is_held(nowhere("group_norm_silu", **norm | far)), far
    step = dict(batch=4096, views=4, dim=64, table_rows=20, clip=3.0, step_dtype=codes["int64"])
    step |= dict(model_output_dtype=bfloat16, x_cast_dtype=bfloat16)
    assert kernels.masked_step_is_of_aligned_quads(nowhere("masked_step", **step))
    assert not kernels.masked_step_is_of_aligned_quads(nowhere("masked_step", **step | dict(batch=2**23)))
    sizes = dict(batch=2048, channels=3, height=64, width=64, images_dtype=bfloat16)
    in_order = dict(batch_stride=12288, channel_stride=1, height_stride=192, width_stride=3)
    in_planes = dict(batch_stride=12288, channel_stride=4096, height_stride=64, width_stride=1)
    for fits, strides in (
        (kernels.pack_images_lies_in_order, in_order),
        (kernels.pack_images_lies_in_planes, in_planes),
    ):
        assert fits(nowhere("pack_images", **sizes, **strides))
        assert not fits(nowhere("pack_images", **sizes | dict(batch=2**18), **strides))


@pytest.mark.parametrize("ulps", [-1, 0, 1])
def test_the_silu_of_the_kernels_has_the_bits_of_the_division(ulps):
    """Every 9973rd number with |x| < 87, of both signs, whatever reciprocal the hardware begins with."""
    last = int(torch.tensor(87.0).view(torch.int32))
    for sign in (0, 2**31):
        assert kernels.different_silus(sign, 9973, last // 9973 + 2, ulps) == 0
    # The only one: its divisor is the number below 2, whose reciprocal is a tie.
    near = int(torch.tensor(2.0**-23).view(torch.int32))
    assert kernels.different_silus(near - 500, 1, 1001, ulps) == abs(ulps)


@given(n=st.integers(0, 2**31 - 1), divisor=st.integers(1, 2**31 - 1))
def test_quotients_by_a_product(n, divisor):
    for number in (n, n // divisor * divisor, max(0, n // divisor * divisor - 1), 2**31 - 1):
        assert kernels.quotient(number, divisor) == number // divisor


def test_the_build_does_not_claim_a_gpu():
    info = ops.build_info()
    assert info["cuda_on_host"] is True
    assert info["cuda"] is False and info["cuda_archs"] == [] and info["cuda_version"] is None
    assert not ops.native_available("cuda")
