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


@given(options=step_options(), shape=st.sampled_from(SHAPES))
def test_masked_step_of_any_quads_in_every_grid(make_step, options, shape):
    options["batch"] = max(1, options["batch"])
    options["dim"] = max(1, options["dim"])
    case = make_step(**options)
    expected, got = case.clone(), case.clone()
    native.on_cpu("masked_step_", *expected.args())
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


@given(options=norm_options(), lanes=st.sampled_from([1, 2, 4, 8, 16, 32]), blocks=st.integers(1, 3))
def test_group_norm_silu_of_any_group_in_every_grid(options, lanes, blocks):
    expected, got = norm_arguments(options), norm_arguments(options)
    native.on_cpu("group_norm_silu_", *expected.values())
    finish(kernels.group_norm_silu_streamed(params_of("group_norm_silu_", *got.values()), lanes, blocks))
    assert_same_norm(got, expected)


def held_options(**changes):
    """Of a group norm that registers hold; the widths of the presets have groups of 16 to 96."""
    options = dict(batch=4, group=48, groups=3, left_width=144, padding=0, in_dtype=torch.bfloat16, seed=1)
    return options | dict(out_dtype=torch.bfloat16, step_dtype=torch.int64, time_bias=True, table_row=True) | changes


@pytest.mark.parametrize("group", [4, 8, 12, 16, 20, 24, 32, 36, 44, 48, 56, 64, 96, 100, 192, 256, 300, 512])
@pytest.mark.parametrize("dtype", FLOATING, ids=str)
def test_group_norm_silu_of_groups_that_registers_hold(group, dtype):
    options = held_options(group=group, left_width=2 * group, in_dtype=dtype, out_dtype=dtype)
    for padding in (0, 8):
        for launch in (native._native.group_norm_silu_cuda, lambda params, _: kernels.group_norm_silu_held(params)):
            expected, got = (norm_arguments(options | dict(padding=padding)) for _ in range(2))
            native.on_cpu("group_norm_silu_", *expected.values())
            params = params_of("group_norm_silu_", *got.values())
            assert kernels.group_norm_silu_is_held(params)
            finish(launch(params, 0))
            assert_same_norm(got, expected)


def test_which_groups_registers_hold():
    def is_held(moved: str = "", **changes) -> bool:
        arguments = norm_arguments(held_options(**changes))
        if moved:
            arguments[moved] = unaligned(arguments[moved])
        return kernels.group_norm_silu_is_held(params_of("group_norm_silu_", *arguments.values()))

    assert is_held()
    assert not is_held(group=516, left_width=3 * 516)  # more than the registers of a warp
    assert not is_held(group=46, left_width=3 * 46)
    assert not is_held(left_width=72)  # in the middle of a group
    assert not is_held(padding=2)
    assert not is_held(out_dtype=torch.float32)
    for name in ("out", "left", "weight", "bias", "time_bias"):
        assert not is_held(moved=name), name


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


def test_group_norm_silu_with_a_step_outside_the_rows_changes_nothing():
    options = dict(batch=3, group=8, groups=2, left_width=16, padding=0, in_dtype=torch.float32, seed=0)
    options |= dict(out_dtype=torch.float32, step_dtype=torch.int64, time_bias=True, table_row=True)
    got = norm_arguments(options)
    got["step"] += 1
    finish(native._native.group_norm_silu_cuda(params_of("group_norm_silu_", *got.values()), 0))
    assert got["out"].isnan().all()


@st.composite
def modulated_options(draw):
    return dict(
        groups=draw(st.integers(0, 5)),
        tokens=draw(st.sampled_from([1, 3, 16])),
        width=draw(st.integers(1, 40) | st.sampled_from([96, 192, 256, 260, 512, 516, 1024, 1028])),
        dtype=draw(st.sampled_from(FLOATING)),
        step_dtype=draw(st.sampled_from([None, torch.int32, torch.int64])),
        known=draw(st.booleans()),
        bias=draw(st.booleans()),
        gap=draw(st.integers(0, 1)),
        seed=draw(st.integers(0, 2**31)),
    )


def modulated_arguments(options):
    """The arguments of ``modulated_norm_`` by name, in the order of its schema, with sums that are exact."""
    torch.manual_seed(options["seed"])
    groups, width = options["groups"], options["width"]
    shape, rows = (groups, options["tokens"], width), 3
    known = torch.rand(groups) < 0.4 if options["known"] else None
    table = torch.randn(rows, 3 + options["gap"], width)[:, :3]
    table[:, 0] = torch.randint(-2, 3, (rows, width)).float()
    row = torch.full((groups,), 2) if known is None else torch.where(known, 0, 2)
    row = row if options["step_dtype"] else row.clamp(max=1)
    h, bias = torch.randint(-3, 4, shape).float(), torch.randint(-3, 4, (width,)).float()
    added = h + bias if options["bias"] else h
    return dict(
        x=balanced(*shape, group=width) - table[row, 0][:, None] * added,
        out=torch.full(shape, math.nan, dtype=options["dtype"]),
        h=h.to(options["dtype"]),
        table=table,
        known=known,
        step=torch.tensor([1], dtype=options["step_dtype"]) if options["step_dtype"] else None,
        bias=bias if options["bias"] else None,
        eps=1e-6,
    )


def assert_same_tokens(got, expected):
    assert same(got["x"], expected["x"]) and same(got["out"], expected["out"])
    assert got["out"].isfinite().all()


@given(options=modulated_options(), moved=st.sets(st.sampled_from(["x", "out", "h", "bias"])))
def test_modulated_norm_through_its_launcher(options, moved):
    expected, got = modulated_arguments(options), modulated_arguments(options)
    native.on_cpu("modulated_norm_", *expected.values())
    got |= {name: unaligned(got[name]) for name in moved}
    finish(native._native.modulated_norm_cuda(params_of("modulated_norm_", *got.values()), 0))
    assert_same_tokens(got, expected)


@given(options=modulated_options(), blocks=st.integers(1, 3), data=st.data())
def test_modulated_norm_in_every_instance_and_grid(options, blocks, data):
    held = [quads for quads in (2, 4, 8) if options["width"] % 4 == 0 and options["width"] <= 128 * quads]
    expected, got = modulated_arguments(options), modulated_arguments(options)
    native.on_cpu("modulated_norm_", *expected.values())
    params = params_of("modulated_norm_", *got.values())
    finish(kernels.modulated_norm(params, data.draw(st.sampled_from([0, *held])), blocks))
    assert_same_tokens(got, expected)


def test_modulated_norm_with_a_step_outside_the_table_changes_nothing():
    options = dict(groups=3, tokens=2, width=8, dtype=torch.float32, step_dtype=torch.int64, known=True)
    got = modulated_arguments(options | dict(bias=True, gap=0, seed=0))
    before = got["x"].clone()
    got["step"] += 1
    finish(native._native.modulated_norm_cuda(params_of("modulated_norm_", *got.values()), 0))
    assert got["out"].isnan().all() and same(got["x"], before)


@given(
    rows=st.integers(0, 5),
    width=st.integers(1, 70),
    dtype=st.sampled_from(FLOATING),
    seed=st.integers(0, 2**31),
    grid=st.sampled_from([None, *SHAPES]),
)
def test_bias_gelu(rows, width, dtype, seed, grid):
    generator = torch.Generator().manual_seed(seed)
    x, bias = (4 * torch.randn(rows, width, generator=generator)).to(dtype), torch.randn(width, generator=generator)
    expected, got = x.clone(), x.clone()
    native.on_cpu("bias_gelu_", expected, bias)
    params = params_of("bias_gelu_", got, bias)
    finish(kernels.bias_gelu(params, *grid) if grid else native._native.bias_gelu_cuda(params, 0))
    assert same(got, expected)


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
        expected = native.on_cpu("pack_images", images)
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
    native.on_cpu("residual_act_", expected, made, bias, rest, expected_total, slope)
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
    native.on_cpu("residual_norm_silu_", expected, made, bias, *norm, rest, expected_total)
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
    native.on_cpu("images_to_patches_", expected, images)
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


def test_the_build_does_not_claim_a_gpu():
    info = ops.build_info()
    assert info["cuda_on_host"] is True
    assert info["cuda"] is False and info["cuda_archs"] == [] and info["cuda_version"] is None
    assert not ops.native_available("cuda")
