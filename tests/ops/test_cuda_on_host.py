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
from dimvida.ops import native

kernels = pytest.importorskip("kernels_on_host", reason="this is no build of the CUDA kernels for the host")

FLOATING = [torch.float32, torch.bfloat16, torch.float16]
INT64 = st.integers(-(2**63), 2**63 - 1)

# Blocks and threads of a launch: the whole work at once, several turns of the grid, and threads left over.
SHAPES = [(1, 32), (2, 64), (3, 96), (5, 256)]


def params_of(name: str, *arguments):
    """The parameters of an op's kernel: its arguments in order, then its result if it has one."""
    kernel = native._KERNELS[name]
    return kernel.fill(kernel.op.check(*arguments[: len(kernel.op.signature.parameters)]), arguments)


def finish(status: int) -> None:
    assert status == 0, native._native.cuda_error_string(status)


def same(a, b) -> bool:
    """Equal bit for bit, NaNs and absent tensors included."""
    if a is None or b is None:
        return a is b
    size = {4: torch.int32, 2: torch.int16}[a.element_size()]
    return torch.equal(a.view(size), b.view(size))


def unaligned(tensor):
    """The same values one element past an aligned address; also the end of their memory."""
    if tensor is None:
        return None
    room = tensor.new_empty(tensor.numel() + 1)
    room[1:] = tensor.flatten()
    return room[1:].view(tensor.shape)


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
    native.on_cpu("masked_step_", *expected.args())
    got = case.clone()
    got = replace(got, **{name: unaligned(getattr(got, name)) for name in moved})
    finish(native._native.masked_step_cuda(params_of("masked_step_", *got.args()), 0))
    assert_same_step(got, expected)


@given(options=step_options(), wide=st.booleans(), shape=st.sampled_from(SHAPES), data=st.data())
def test_masked_step_in_every_instance_and_grid(make_step, options, wide, shape, data):
    options["batch"] = max(1, options["batch"])
    options["dim"] = max(1, options["dim"])
    aligned = options["dim"] % 4 == 0 and data.draw(st.booleans())
    case = make_step(**options)
    expected, got = case.clone(), case.clone()
    native.on_cpu("masked_step_", *expected.args())
    finish(kernels.masked_step(params_of("masked_step_", *got.args()), aligned, wide, *shape))
    assert_same_step(got, expected)


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
    native.on_cpu("philox_normal_", expected, ids, seed, draw)
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
    assert torch.equal(words, native.on_cpu("philox4x32", counters, key))


def balanced(*shape: int, group: int):
    """Small whole numbers whose sum over each group is a multiple of its size.

    Means, deviations and sums of squares are then exact, so the order of additions cannot be seen.
    """
    values = torch.randint(-4, 5, (*shape[:-1], shape[-1] // group, group)).float()
    surplus = values.sum(-1, keepdim=True) % group
    return (values - (torch.arange(group) < surplus).float()).reshape(shape)


def padded(tensor, columns: int):
    """The same values in rows with `columns` more between them; the last row ends the memory."""
    rows, width = tensor.shape
    room = tensor.new_full((rows * (width + columns),), math.nan)
    placed = room.as_strided(
        tensor.shape, (width + columns, 1), room.numel() - ((rows - 1) * (width + columns) + width)
    )
    return placed.copy_(tensor) if rows else tensor


@st.composite
def norm_options(draw):
    group = draw(st.integers(1, 40) | st.sampled_from([48, 96, 128, 500, 512, 513, 1024, 1100]))
    groups = draw(st.integers(1, 5))
    fours = draw(st.booleans())
    if fours:
        group = 4 * -(-group // 4)
    width = group * groups
    left_width = draw(st.just(width) | st.integers(1, width))
    if fours:
        left_width = 4 * -(-left_width // 4)
    return dict(
        batch=draw(st.integers(0, 5)),
        group=group,
        groups=groups,
        left_width=left_width,
        fours=fours,
        padding=draw(st.sampled_from([0, 4] if fours else [0, 1, 3, 4])),
        in_dtype=draw(st.sampled_from(FLOATING)),
        out_dtype=draw(st.sampled_from(FLOATING)),
        step_dtype=draw(st.sampled_from([torch.int32, torch.int64])),
        time_bias=draw(st.booleans()),
        table_row=draw(st.booleans()),
        seed=draw(st.integers(0, 2**31)),
    )


def norm_arguments(options):
    """The arguments of ``group_norm_silu_`` by name, in the order of its schema."""
    torch.manual_seed(options["seed"])
    batch, group, left_width = options["batch"], options["group"], options["left_width"]
    width = group * options["groups"]
    masks, steps = 3, 2
    whole = balanced(batch, width, group=group)
    left, right = whole[:, :left_width], whole[:, left_width:]

    def placed(tensor, dtype):
        return None if tensor is None else padded(tensor.to(dtype), options["padding"])

    in_dtype = options["in_dtype"]
    arguments = dict(
        out=placed(torch.full((batch, width), math.nan), options["out_dtype"]),
        left=placed(left, in_dtype),
        weight=torch.randn(width),
        bias=torch.randn(width),
        groups=options["groups"],
        eps=1e-5,
        right=placed(right, in_dtype) if left_width < width else None,
        time_bias=balanced(masks, steps, width, group=group) if options["time_bias"] else None,
        # One of them is no row, and adds nothing.
        table_row=torch.randint(0, masks + 1, (batch,)) if options["time_bias"] and options["table_row"] else None,
        step=torch.tensor([1], dtype=options["step_dtype"]) if options["time_bias"] else None,
    )
    return arguments


def assert_same_norm(got, expected):
    assert same(got["out"], expected["out"])
    assert got["out"].isfinite().all()


@given(options=norm_options())
def test_group_norm_silu_through_its_launcher(options):
    expected, got = norm_arguments(options), norm_arguments(options)
    native.on_cpu("group_norm_silu_", *expected.values())
    finish(native._native.group_norm_silu_cuda(params_of("group_norm_silu_", *got.values()), 0))
    assert_same_norm(got, expected)


@given(options=norm_options(), lanes=st.sampled_from([1, 2, 4, 8, 16, 32]), blocks=st.integers(1, 3), data=st.data())
def test_group_norm_silu_in_every_instance_and_grid(options, lanes, blocks, data):
    fits = 4 * 4 * lanes >= options["group"]  # four elements in each of four registers of every lane
    held = fits and data.draw(st.booleans())
    aligned = options["fours"] and data.draw(st.booleans())
    expected, got = norm_arguments(options), norm_arguments(options)
    native.on_cpu("group_norm_silu_", *expected.values())
    params = params_of("group_norm_silu_", *got.values())
    finish(kernels.group_norm_silu(params, aligned, lanes, held, blocks))
    assert_same_norm(got, expected)


def test_group_norm_silu_with_a_step_outside_the_rows_changes_nothing():
    options = dict(batch=3, group=8, groups=2, left_width=16, padding=0, in_dtype=torch.float32, seed=0)
    options |= dict(out_dtype=torch.float32, step_dtype=torch.int64, time_bias=True, table_row=True)
    got = norm_arguments(options)
    got["step"] += 1
    finish(native._native.group_norm_silu_cuda(params_of("group_norm_silu_", *got.values()), 0))
    assert got["out"].isnan().all()


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
    expected = native.on_cpu("pack_images", images)
    packed = 255 - expected
    params = params_of("pack_images", images, packed)
    finish(kernels.pack_images(params, *grid) if grid else native._native.pack_images_cuda(params, 0))
    assert torch.equal(packed, expected)


def test_the_build_does_not_claim_a_gpu():
    info = ops.build_info()
    assert info["cuda_on_host"] is True
    assert info["cuda"] is False and info["cuda_archs"] == [] and info["cuda_version"] is None
    assert not ops.native_available("cuda")
