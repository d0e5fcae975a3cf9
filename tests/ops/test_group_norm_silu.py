"""Group norm and SiLU: the reference against torch's own, and every kernel against the reference."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from dimvida import ops
from dimvida.ops import reference, registration

from .conftest import FLOATING, NormCase, random_norm

OPS = torch.ops.dimvida
# Of the norm's values, which are about 1: the order of sums differs, and a low dtype rounds what differs.
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float16: 2e-3}


def expect_equal(got: NormCase, expected: NormCase) -> None:
    tolerance = TOLERANCE[expected.out.dtype]
    torch.testing.assert_close(got.out.cpu().float(), expected.out.float(), rtol=tolerance, atol=tolerance)


def test_the_reference_is_torchs_own_norm():
    case = random_norm()
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
    case = random_norm(
        data.draw(st.sampled_from([0, 1, 3, 17])),
        left,
        width - left,
        groups,
        dtype=data.draw(st.sampled_from(FLOATING)),
        out_dtype=data.draw(st.sampled_from(FLOATING)),
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
    case = random_norm(50, width, width, groups, dtype=torch.bfloat16, gap=3)
    got, expected = case.to("cpu"), case.to("cpu")
    registration.OPS["group_norm_silu_"].on_cpu(*got.args(), simd=simd, threads=threads)
    registration.OPS["group_norm_silu_"].on_cpu(*expected.args(), simd="baseline", threads=1)
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
    case = random_norm(3, masks=2).to(device)
    case.table_row.copy_(torch.tensor([0, -1, 2]))
    OPS.group_norm_silu_(*case.args())
    alone = replace(case.to(device), time_bias=None, table_row=None, step=None)
    OPS.group_norm_silu_(*alone.args())
    assert torch.equal(case.out[1:], alone.out[1:]) and not torch.equal(case.out[:1], alone.out[:1])


@pytest.mark.parametrize("step", [-1, 2, 2**31 - 1])
def test_a_step_that_is_none(device, step: int):
    case = random_norm().to(device)
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
    torch.library.opcheck(OPS.group_norm_silu_.default, random_norm().to(device).args())
    bare = random_norm(right=0, masks=0, dtype=torch.bfloat16, out_dtype=torch.bfloat16)
    torch.library.opcheck(OPS.group_norm_silu_.default, bare.to(device).args())


def test_it_compiles_without_a_graph_break(device):
    def norm(out, *rest):
        out = out * 1.0
        OPS.group_norm_silu_(out, *rest)
        return out + 1.0

    case = random_norm().to(device)
    expected = norm(*case.to(device).args())
    assert torch.equal(torch.compile(norm, fullgraph=True, backend="aot_eager")(*case.args()), expected)


def test_gradients_are_refused(device):
    case = random_norm().to(device)
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
        case = replace(random_norm(), **{name: value})
        with pytest.raises((TypeError, ValueError)):
            OPS.group_norm_silu_(*case.args())


def test_an_index_without_a_time_bias_is_refused():
    with pytest.raises(ValueError, match="table_row and step are indices into time_bias"):
        OPS.group_norm_silu_(*replace(random_norm(), time_bias=None).args())
