"""The CUDA kernels of norms and tokens, compiled for the host, against the CPU kernels: no GPU, but their own source.

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
    registration.OPS["group_norm_silu_"].on_cpu(*expected.values())
    finish(native._native.group_norm_silu_cuda(params_of("group_norm_silu_", *got.values()), 0))
    assert_same_norm(got, expected)


@given(options=norm_options(), lanes=st.sampled_from([1, 2, 4, 8, 16, 32]), blocks=st.integers(1, 3))
def test_group_norm_silu_of_any_group_in_every_grid(options, lanes, blocks):
    expected, got = norm_arguments(options), norm_arguments(options)
    registration.OPS["group_norm_silu_"].on_cpu(*expected.values())
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
            registration.OPS["group_norm_silu_"].on_cpu(*expected.values())
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
    registration.OPS["modulated_norm_"].on_cpu(*expected.values())
    got |= {name: unaligned(got[name]) for name in moved}
    finish(native._native.modulated_norm_cuda(params_of("modulated_norm_", *got.values()), 0))
    assert_same_tokens(got, expected)


@given(options=modulated_options(), blocks=st.integers(1, 3), data=st.data())
def test_modulated_norm_in_every_instance_and_grid(options, blocks, data):
    held = [quads for quads in (2, 4, 8) if options["width"] % 4 == 0 and options["width"] <= 128 * quads]
    expected, got = modulated_arguments(options), modulated_arguments(options)
    registration.OPS["modulated_norm_"].on_cpu(*expected.values())
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
    registration.OPS["bias_gelu_"].on_cpu(expected, bias)
    params = params_of("bias_gelu_", got, bias)
    finish(kernels.bias_gelu(params, *grid) if grid else native._native.bias_gelu_cuda(params, 0))
    assert same(got, expected)
