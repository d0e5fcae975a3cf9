"""Group norm and SiLU: the reference against torch's own, and every kernel against the reference."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from dimvida import ops
from dimvida.ops import native, reference

OPS = torch.ops.dimvida
DTYPES = [torch.float32, torch.bfloat16, torch.float16]
# Of the norm's values, which are about 1: the order of sums differs, and a low dtype rounds what differs.
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float16: 2e-3}


@dataclass(frozen=True)
class Case:
    """The arguments of ``group_norm_silu_``, in the order of its schema."""

    out: Tensor
    left: Tensor
    weight: Tensor
    bias: Tensor
    groups: int
    eps: float = 1e-5
    right: Tensor | None = None
    time_bias: Tensor | None = None
    table_row: Tensor | None = None
    step: Tensor | None = None

    def args(self) -> tuple[object, ...]:
        return tuple(vars(self).values())

    def to(self, device: str) -> Case:
        """The same values in memory of their own, each row as far from the next as here."""
        moved = {}
        for name, tensor in vars(self).items():
            if isinstance(tensor, Tensor):
                other = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device=device)
                moved[name] = other.copy_(tensor)
        return replace(self, **moved)


def apart(rows: int, columns: int, dtype: torch.dtype, generator: torch.Generator, gap: int) -> Tensor:
    """Random [rows, columns] with ``gap`` unused elements after each row."""
    return torch.randn(rows, columns + gap, generator=generator).to(dtype)[:, :columns]


def random_case(
    batch: int = 5,
    left: int = 24,
    right: int = 24,
    groups: int = 4,
    *,
    dtype: torch.dtype = torch.float32,
    out_dtype: torch.dtype = torch.float32,
    masks: int = 3,
    steps: int = 2,
    gap: int = 0,
    step_dtype: torch.dtype = torch.int64,
    seed: int = 0,
) -> Case:
    """Random tensors of all kinds; no time bias where ``masks`` is 0."""
    g = torch.Generator().manual_seed(seed)
    width = left + right
    return Case(
        out=torch.zeros(batch, width + gap, dtype=out_dtype)[:, :width],
        left=apart(batch, left, dtype, g, gap),
        weight=torch.randn(width, generator=g),
        bias=torch.randn(width, generator=g),
        groups=groups,
        right=apart(batch, right, dtype, g, gap) if right else None,
        time_bias=torch.randn(masks, steps, width + gap, generator=g)[..., :width] if masks else None,
        table_row=torch.randint(masks, (batch,), generator=g) if masks else None,
        step=torch.randint(steps, (1,), generator=g).to(step_dtype) if masks else None,
    )


def expect_equal(got: Case, expected: Case) -> None:
    tolerance = TOLERANCE[expected.out.dtype]
    torch.testing.assert_close(got.out.cpu().float(), expected.out.float(), rtol=tolerance, atol=tolerance)


def test_the_reference_is_torchs_own_norm():
    case = random_case()
    reference.group_norm_silu_(*case.args())
    added = case.time_bias[case.table_row, int(case.step)]
    v = torch.cat([case.left, case.right], dim=1) + added
    expected = functional.silu(functional.group_norm(v, case.groups, case.weight, case.bias))
    torch.testing.assert_close(case.out, expected, rtol=1e-5, atol=1e-6)


@given(data=st.data())
def test_kernels_agree_with_the_reference(device_of, data):
    groups = data.draw(st.sampled_from([1, 2, 3, 8, 32]))
    width = groups * data.draw(st.sampled_from([1, 2, 5, 8, 12, 24, 48, 100, 700]))
    left = data.draw(st.sampled_from([0, 1, width // 2, width]))
    case = random_case(
        data.draw(st.sampled_from([0, 1, 3, 17])),
        left,
        width - left,
        groups,
        dtype=data.draw(st.sampled_from(DTYPES)),
        out_dtype=data.draw(st.sampled_from(DTYPES)),
        masks=data.draw(st.integers(0, 3)),
        steps=data.draw(st.integers(1, 3)),
        gap=data.draw(st.sampled_from([0, 1, 4])),
        step_dtype=data.draw(st.sampled_from([torch.int32, torch.int64])),
        seed=data.draw(st.integers(0, 1000)),
    )
    got, expected = case.to(device_of), case.to("cpu")
    OPS.group_norm_silu_(*got.args())
    reference.group_norm_silu_(*expected.args())
    expect_equal(got, expected)


@pytest.mark.parametrize("simd", ops.build_info()["simd_supported"])
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize(("width", "groups"), [(96, 4), (3000, 2), (40, 40)])
def test_instruction_sets_and_threads_give_the_same_bits(simd: str, threads: int, width: int, groups: int):
    case = random_case(50, width, width, groups, dtype=torch.bfloat16, gap=3)
    got, expected = case.to("cpu"), case.to("cpu")
    native.on_cpu("group_norm_silu_", *got.args(), simd=simd, threads=threads)
    native.on_cpu("group_norm_silu_", *expected.args(), simd="baseline", threads=1)
    assert torch.equal(got.out, expected.out)


def test_large_values_keep_their_variance(device):
    # A one-pass variance, mean of squares minus square of mean, would be lost in the rounding of 1e8.
    x = (torch.randn(4, 64, generator=torch.Generator().manual_seed(0)) + 1e4).to(device)
    out, ones, zeros = torch.empty_like(x), torch.ones(64, device=device), torch.zeros(64, device=device)
    ops.group_norm_silu_(out, x, ones, zeros, 4)
    exact = functional.silu(functional.group_norm(x.double(), 4))
    torch.testing.assert_close(out.double(), exact, rtol=1e-2, atol=1e-3)


def test_nan_and_extremes_stay_in_their_group(device):
    x = torch.zeros(1, 8, device=device)
    x[0, 0], x[0, 4], x[0, 5] = torch.nan, 3e18, -3e18
    out = torch.empty_like(x)
    ops.group_norm_silu_(out, x, torch.full((8,), 1e4, device=device), torch.zeros(8, device=device), 2)
    assert out[0, :4].isnan().all()
    assert out[0, 4] > 1e4 and (out[0, 5:].abs() < 1e-3).all()


def test_a_table_row_that_is_none_adds_nothing(device):
    case = random_case(3, masks=2).to(device)
    case.table_row.copy_(torch.tensor([0, -1, 2]))
    OPS.group_norm_silu_(*case.args())
    alone = replace(case.to(device), time_bias=None, table_row=None, step=None)
    OPS.group_norm_silu_(*alone.args())
    assert torch.equal(case.out[1:], alone.out[1:]) and not torch.equal(case.out[:1], alone.out[:1])


@pytest.mark.parametrize("step", [-1, 2, 2**31 - 1])
def test_a_step_that_is_none(device, step: int):
    case = random_case().to(device)
    case.step.fill_(step)
    before = case.to(device)
    if device == "cpu":
        for backend in (OPS.group_norm_silu_, reference.group_norm_silu_):
            with pytest.raises(IndexError, match="step"):
                backend(*case.args())
    else:
        OPS.group_norm_silu_(*case.args())
    assert torch.equal(case.out, before.out)


def test_opcheck(device):
    torch.library.opcheck(OPS.group_norm_silu_.default, random_case().to(device).args())
    bare = random_case(right=0, masks=0, dtype=torch.bfloat16, out_dtype=torch.bfloat16)
    torch.library.opcheck(OPS.group_norm_silu_.default, bare.to(device).args())


def test_it_compiles_without_a_graph_break(device):
    def norm(out, *rest):
        out = out * 1.0
        OPS.group_norm_silu_(out, *rest)
        return out + 1.0

    case = random_case().to(device)
    expected = norm(*case.to(device).args())
    assert torch.equal(torch.compile(norm, fullgraph=True, backend="aot_eager")(*case.args()), expected)


def test_gradients_are_refused(device):
    case = random_case().to(device)
    case.weight.requires_grad_()
    with pytest.raises(RuntimeError, match="no_grad"):
        OPS.group_norm_silu_(*case.args())
    with torch.no_grad():
        OPS.group_norm_silu_(*case.args())


WRONG = {
    "out": [torch.zeros(5, 48, dtype=torch.int32), torch.zeros(5, 47), torch.zeros(4, 48), torch.zeros(48, 5).t()],
    "left": [torch.zeros(5, 24, dtype=torch.float64), torch.zeros(5, 23), torch.zeros(5, 24, 1), torch.zeros(24)],
    "weight": [torch.zeros(47), torch.zeros(48, dtype=torch.bfloat16), torch.zeros(96)[::2], torch.zeros(1, 48)],
    "bias": [torch.zeros(49), torch.zeros(48).double(), torch.zeros(48, device="meta")],
    "groups": [0, -4, 5, 2**40],
    "eps": [0.0, -1.0, float("nan")],
    "right": [torch.zeros(5, 24).bfloat16(), torch.zeros(4, 24), torch.zeros(24, 5).t(), torch.zeros(5)],
    "time_bias": [torch.zeros(3, 48), torch.zeros(3, 2, 47), torch.zeros(0, 2, 48), torch.zeros(3, 2, 48).double()],
    "table_row": [torch.zeros(5, dtype=torch.int32), torch.zeros(4, dtype=torch.int64), torch.zeros(5)],
    "step": [torch.zeros(1), torch.zeros(2, dtype=torch.int64), torch.tensor(0)],
}


@pytest.mark.parametrize("name", WRONG)
def test_what_does_not_fit_is_refused(name: str):
    for value in WRONG[name]:
        case = replace(random_case(), **{name: value})
        with pytest.raises((TypeError, ValueError)):
            OPS.group_norm_silu_(*case.args())


def test_an_index_without_a_time_bias_is_refused():
    with pytest.raises(ValueError, match="table_row and step are indices into time_bias"):
        OPS.group_norm_silu_(*replace(random_case(), time_bias=None).args())


def test_a_tensor_without_storage_is_refused():
    case = random_case()
    case.right.untyped_storage().resize_(0)
    with pytest.raises((ValueError, RuntimeError)):
        OPS.group_norm_silu_(*case.args())


def overlapping_rows(columns: int, stride: int, rows: int = 5) -> Tensor:
    return torch.randn((rows - 1) * stride + columns).as_strided((rows, columns), (stride, 1))


@pytest.mark.parametrize("stride", [0, 1, 24, 47])
@pytest.mark.parametrize("backend", [OPS.group_norm_silu_, reference.group_norm_silu_], ids=["op", "reference"])
def test_rows_that_are_written_over_each_other_are_refused(backend, stride: int):
    case = replace(random_case(), out=overlapping_rows(48, stride))
    before = case.out.clone()
    with pytest.raises(ValueError, match="the rows of out, which are written, share memory"):
        backend(*case.args())
    assert torch.equal(case.out, before)


def test_rows_that_are_read_may_be_one_row():
    case = random_case()
    repeated = replace(case, left=case.left[:1].expand(5, -1), right=case.right[:1].expand(5, -1))
    expected = replace(case, left=repeated.left.clone(), right=repeated.right.clone()).to("cpu")
    OPS.group_norm_silu_(*repeated.args())
    OPS.group_norm_silu_(*expected.args())
    assert torch.equal(repeated.out, expected.out)
    one = random_case(batch=1)
    one = replace(one, out=torch.zeros(48).as_strided((1, 48), (0, 1)))  # of one row, the distance says nothing
    OPS.group_norm_silu_(*one.args())
    assert one.out.any()


@pytest.mark.parametrize("batch", [1, 5])
@pytest.mark.parametrize("other", ["left", "right", "weight", "bias", "time_bias"])
def test_memory_that_is_shared_is_refused(other: str, batch: int):
    case = random_case(batch)
    theirs, ours = getattr(case, other), case.out
    memory = torch.randn(theirs.numel() + 2 * ours.numel())
    start = max(theirs.numel() - 1, 0)
    case = replace(
        case,
        **{
            other: memory[: theirs.numel()].view(theirs.shape),
            "out": memory[start : start + ours.numel()].view(ours.shape),
        },
    )
    before = memory.clone()
    with pytest.raises(ValueError, match="shares memory"):
        OPS.group_norm_silu_(*case.args())
    assert torch.equal(memory, before)


def test_columns_may_lie_side_by_side():
    case = random_case()
    expected = case.to("cpu")
    OPS.group_norm_silu_(*expected.args())
    joined = torch.zeros(5, 2 * 48)
    tensors = {"out": joined[:, :48], "left": joined[:, 48:72], "right": joined[:, 72:96]}
    for key in ("left", "right"):
        tensors[key].copy_(getattr(case, key))
    OPS.group_norm_silu_(*replace(case, **tensors).args())
    assert torch.equal(tensors["out"], expected.out)


def test_columns_that_reach_into_each_other_are_refused():
    case = random_case()
    joined = torch.zeros(5, 3 * 48)
    for left in (joined[:, 47:71], joined[:, 20:44]):
        with pytest.raises(ValueError, match="out shares memory with left"):
            OPS.group_norm_silu_(*replace(case, out=joined[:, :48], left=left).args())
    # The end of a row reaches into the beginning of the next.
    flat = torch.zeros(6 * 60)
    case = replace(case, out=flat.as_strided((5, 48), (60, 1)), left=flat.as_strided((5, 24), (60, 1), 50))
    with pytest.raises(ValueError, match="out shares memory with left"):
        OPS.group_norm_silu_(*case.args())


@given(data=st.data())
def test_what_is_refused_are_matrices_with_a_number_in_common(data):
    memory, places = torch.zeros(120), torch.arange(120)
    strides = data.draw(st.sampled_from([(9, 9), (7, 9), (9, 10), (18, 9)]))
    tensors, numbers = {}, {}
    for name, columns, stride in (("out", 6, strides[0]), ("left", 3, strides[1]), ("weight", 6, 0)):
        shape, steps = ((6,), (1,)) if name == "weight" else ((3, columns), (stride, 1))
        start = data.draw(st.integers(0, 60), label=name)
        tensors[name] = memory.as_strided(shape, steps, start)
        numbers[name] = set(places.as_strided(shape, steps, start).flatten().tolist())
    case = Case(right=torch.zeros(3, 3), bias=torch.zeros(6), groups=2, **tensors)
    shared = {name for name in ("left", "weight") if numbers["out"] & numbers[name]}
    try:
        OPS.group_norm_silu_(*case.args())
    except ValueError as error:
        name = str(error).removeprefix("out shares memory with ")
        assert name in tensors
        # Rows of another distance, and gaps between rows, may be refused wherever the two reach into each other.
        assert name in shared or name == "weight" or strides[0] != strides[1]
    else:
        assert not shared
