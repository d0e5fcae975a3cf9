"""The CUDA kernels of images, compiled for the host, against the CPU kernels: no GPU, but their own source.

Skipped in the usual build of the native module; scripts/sanitize.py makes the one that has them.
"""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dimvida.ops import native, registration

from .conftest import FLOATING, SHAPES, finish, params_of, same, unaligned

kernels = pytest.importorskip("kernels_on_host", reason="this is no build of the CUDA kernels for the host")


@given(
    shape=st.tuples(st.integers(0, 4), st.integers(0, 5), st.integers(0, 9), st.integers(0, 40)),
    dtype=st.sampled_from(FLOATING),
    order=st.permutations(range(4)),
    seed=st.integers(0, 2**31),
    grid=st.sampled_from([None, *SHAPES]),
)
def test_pack_images(shape, dtype, order, seed, grid):
    generator = torch.Generator().manual_seed(seed)
    # Any order of the axes in memory, and numbers past both ends of [0, 1].
    images = (1.5 * torch.rand(shape, generator=generator) - 0.25).to(dtype)
    images = images.permute(order).contiguous().permute(*(list(order).index(axis) for axis in range(4)))
    expected = registration.OPS["pack_images"].on_cpu(images)
    packed = 255 - expected
    params = params_of("pack_images", images, packed)
    finish(kernels.pack_images(params, *grid) if grid else native._native.pack_images_cuda(params, 0))
    assert torch.equal(packed, expected)


@pytest.mark.parametrize("dtype", FLOATING, ids=str)
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("size", [(8, 8), (4, 5), (3, 5), (1, 1)], ids=str)
def test_pack_images_in_order_and_in_planes(size, channels, dtype):
    generator = torch.Generator().manual_seed(size[0])
    planes = (1.5 * torch.rand((3, channels, *size), generator=generator) - 0.25).to(dtype)
    planes[0, 0, 0, 0], planes[1, 0, 0, 0], planes[2, 0, 0, 0] = math.nan, math.inf, -0.0
    in_order = planes.contiguous(memory_format=torch.channels_last)
    several = channels > 1 and size[0] * size[1] > 1
    cases = [
        (planes, not several, channels == 3 and size[0] * size[1] % 4 == 0),
        (in_order, True, False),
        (unaligned(planes), False, False),
        (unaligned(in_order.permute(0, 2, 3, 1)).permute(0, 3, 1, 2), False, False),
        (planes[:, :, :, : size[1] - 1], None, None),
        (planes[:2:2], None, None),
    ]
    for images, ordered, planar in cases:
        expected = registration.OPS["pack_images"].on_cpu(images)
        packed = 255 - expected
        params = params_of("pack_images", images, packed)
        if ordered is not None:
            assert kernels.pack_images_lies_in_order(params) == ordered
            assert kernels.pack_images_lies_in_planes(params) == planar
        finish(native._native.pack_images_cuda(params, 0))
        assert torch.equal(packed, expected)


def whole(*shape: int, dtype: torch.dtype = torch.float32):
    return torch.randint(-4, 5, shape).to(dtype)


@given(
    scale=st.sampled_from([1, 2, 3]),
    channels=st.sampled_from([1, 3, 4, 8, 12]),
    dtype=st.sampled_from(FLOATING),
    slope=st.sampled_from([None, 0.25, 1.0]),
    seed=st.integers(0, 2**31),
    data=st.data(),
)
def test_residual_act(scale, channels, dtype, slope, seed, data):
    torch.manual_seed(seed)
    overlap = data.draw(st.sampled_from([0, 1])) if scale == 2 else 0
    batch, rows, columns = data.draw(st.tuples(st.integers(0, 3), st.integers(1, 3), st.integers(1, 3)))
    shape = (batch, scale * rows, scale * columns, channels)
    made = torch.randn(batch, rows + overlap, columns + overlap, scale * scale * channels).to(dtype)
    factor = data.draw(st.sampled_from([None, 1, scale]))
    rest = None if factor is None else torch.randn(batch, shape[1] // factor, shape[2] // factor, channels).to(dtype)
    bias, total = torch.randn(made.shape[3]), torch.zeros(shape, dtype=dtype) if data.draw(st.booleans()) else None
    moved = data.draw(st.sampled_from([lambda tensor: tensor, unaligned]))
    expected, expected_total = torch.zeros(shape, dtype=dtype), None if total is None else total.clone()
    registration.OPS["residual_act_"].on_cpu(expected, made, bias, rest, expected_total, slope)
    got = moved(torch.zeros(shape, dtype=dtype))
    finish(native._native.residual_act_cuda(params_of("residual_act_", got, made, bias, rest, total, slope), 0))
    assert same(got, expected) and same(total, expected_total)


@given(
    scale=st.sampled_from([1, 2]),
    form=st.sampled_from([(4, 1), (8, 2), (24, 3), (6, 2), (5, 1), (64, 8), (1200, 2)]),
    dtype=st.sampled_from(FLOATING),
    seed=st.integers(0, 2**31),
    data=st.data(),
)
def test_residual_norm_silu(scale, form, dtype, seed, data):
    torch.manual_seed(seed)
    channels, groups = form
    batch, rows, columns = data.draw(st.tuples(st.integers(0, 2), st.integers(1, 3), st.integers(1, 3)))
    shape = (batch, scale * rows, scale * columns, channels)
    # Whole numbers, whose sums are exact in any order; those of squared deviations are not.
    made = whole(batch, rows, columns, scale * scale * channels, dtype=dtype)
    total = torch.zeros(shape, dtype=dtype) if data.draw(st.booleans()) else None
    norm = torch.randn(channels), torch.randn(channels), groups, 1e-2
    bias, rest = whole(made.shape[3]).float(), whole(*shape, dtype=dtype)
    expected, expected_total = torch.zeros(shape, dtype=dtype), None if total is None else total.clone()
    registration.OPS["residual_norm_silu_"].on_cpu(expected, made, bias, *norm, rest, expected_total)
    got = data.draw(st.sampled_from([lambda tensor: tensor, unaligned]))(torch.zeros(shape, dtype=dtype))
    params = params_of("residual_norm_silu_", got, made, bias, *norm, rest, total)
    finish(native._native.residual_norm_silu_cuda(params, 0))
    assert same(total, expected_total)
    tolerance = {torch.float32: 2e-6, torch.bfloat16: 2**-7, torch.float16: 2**-10}[dtype]
    torch.testing.assert_close(got, expected, rtol=tolerance, atol=4 * tolerance)


@given(
    sizes=st.tuples(st.integers(0, 3), st.integers(1, 4), st.integers(1, 4), st.integers(1, 3), st.integers(1, 3)),
    dtype=st.sampled_from(FLOATING),
    bad=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_patches(sizes, dtype, bad, seed):
    torch.manual_seed(seed)
    batch, colours, patch, rows, columns = sizes
    images = torch.randint(0, 256, (batch, colours, patch * rows, patch * columns), dtype=torch.uint8)
    images = images.contiguous(memory_format=torch.channels_last)
    expected, got = torch.zeros(2, batch, rows, columns, patch * patch * colours, dtype=dtype)
    registration.OPS["images_to_patches_"].on_cpu(expected, images)
    finish(native._native.images_to_patches_cuda(params_of("images_to_patches_", got, images), 0))
    assert same(got, expected)
    values, bias = torch.rand_like(expected.float()).to(dtype), torch.randn(expected.shape[3])
    if bad and batch:
        values[0, -1, 0, -1] = math.inf
    results = []
    for run in (native._native.patches_to_images_cpu, native._native.patches_to_images_cuda):
        packed = torch.zeros(batch, patch * rows, patch * columns, colours, dtype=torch.uint8)
        finite = torch.zeros(batch, dtype=torch.bool)
        params = params_of("patches_to_images_", packed, finite, values, bias)
        finish(run(params, 0) if run is native._native.patches_to_images_cuda else run(params, 1, ""))
        results.append((packed, finite))
    assert torch.equal(results[0][0], results[1][0]) and torch.equal(results[0][1], results[1][1])
