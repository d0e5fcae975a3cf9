"""What an op refuses of the memory of its arguments, by the example of ``group_norm_silu_``."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from dimvida.ops import reference

from .conftest import NormCase, random_norm

OPS = torch.ops.dimvida


def test_a_tensor_without_storage_is_refused():
    case = random_norm()
    case.right.untyped_storage().resize_(0)
    with pytest.raises((ValueError, RuntimeError)):
        OPS.group_norm_silu_(*case.args())


def overlapping_rows(columns: int, stride: int, rows: int = 5) -> Tensor:
    return torch.randn((rows - 1) * stride + columns).as_strided((rows, columns), (stride, 1))


@pytest.mark.parametrize("stride", [0, 1, 24, 47])
@pytest.mark.parametrize("backend", [OPS.group_norm_silu_, reference.group_norm_silu_], ids=["op", "reference"])
def test_rows_that_are_written_over_each_other_are_refused(backend, stride: int):
    case = replace(random_norm(), out=overlapping_rows(48, stride))
    before = case.out.clone()
    with pytest.raises(ValueError, match="the rows of out, which are written, share memory"):
        backend(*case.args())
    assert torch.equal(case.out, before)


def test_rows_that_are_read_may_be_one_row():
    case = random_norm()
    repeated = replace(case, left=case.left[:1].expand(5, -1), right=case.right[:1].expand(5, -1))
    expected = replace(case, left=repeated.left.clone(), right=repeated.right.clone()).to("cpu")
    OPS.group_norm_silu_(*repeated.args())
    OPS.group_norm_silu_(*expected.args())
    assert torch.equal(repeated.out, expected.out)
    one = random_norm(batch=1)
    one = replace(one, out=torch.zeros(48).as_strided((1, 48), (0, 1)))  # of one row, the distance says nothing
    OPS.group_norm_silu_(*one.args())
    assert one.out.any()


@pytest.mark.parametrize("batch", [1, 5])
@pytest.mark.parametrize("other", ["left", "right", "weight", "bias", "time_bias"])
def test_memory_that_is_shared_is_refused(other: str, batch: int):
    case = random_norm(batch)
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
    case = random_norm()
    expected = case.to("cpu")
    OPS.group_norm_silu_(*expected.args())
    joined = torch.zeros(5, 2 * 48)
    tensors = {"out": joined[:, :48], "left": joined[:, 48:72], "right": joined[:, 72:96]}
    for key in ("left", "right"):
        tensors[key].copy_(getattr(case, key))
    OPS.group_norm_silu_(*replace(case, **tensors).args())
    assert torch.equal(tensors["out"], expected.out)


def test_columns_that_reach_into_each_other_are_refused():
    case = random_norm()
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
    case = NormCase(right=torch.zeros(3, 3), bias=torch.zeros(6), groups=2, **tensors)
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
