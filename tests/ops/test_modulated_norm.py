"""The modulated norm: the reference against torch's own, and every kernel against the reference."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from dimvida import ops
from dimvida.ops import reference, registration

from .conftest import Arguments

OPS = torch.ops.dimvida
DTYPES = [torch.float32, torch.bfloat16, torch.float16]
# Of numbers about 1: the order of sums differs, and a low dtype rounds what differs.
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float16: 2e-3}


@dataclass(frozen=True)
class Case(Arguments):
    """The arguments of ``modulated_norm_``, in the order of its schema."""

    x: Tensor
    out: Tensor
    h: Tensor
    table: Tensor
    known: Tensor | None = None
    step: Tensor | None = None
    bias: Tensor | None = None
    eps: float = 1e-6

    def to(self, device: str) -> Case:
        """The same values in memory of their own, rows of the table as far apart as here."""
        moved = {n: t.to(device, copy=True) for n, t in vars(self).items() if isinstance(t, Tensor)}
        apart = torch.empty_strided(self.table.shape, self.table.stride(), device=device)
        return replace(self, **{**moved, "table": apart.copy_(self.table)})


def random_case(
    groups: int = 5,
    tokens: int = 3,
    width: int = 24,
    *,
    rows: int = 4,
    dtype: torch.dtype = torch.float32,
    known: bool = True,
    step_dtype: torch.dtype | None = torch.int64,
    bias: bool = True,
    gap: int = 0,
    seed: int = 0,
) -> Case:
    """Random tensors of all kinds; no step, and so step 0, where it has no dtype."""
    g = torch.Generator().manual_seed(seed)
    shape = (groups, tokens, width)
    step = torch.randint(rows - 1, (1,), generator=g)
    return Case(
        x=torch.randn(shape, generator=g),
        out=torch.zeros(shape, dtype=dtype),
        h=torch.randn(shape, generator=g).to(dtype),
        table=torch.randn(rows, 3 + gap, width, generator=g)[:, :3],
        known=torch.rand(groups, generator=g) < 0.4 if known else None,
        step=None if step_dtype is None else step.to(step_dtype),
        bias=torch.randn(width, generator=g) if bias else None,
    )


def expect_equal(got: Case, expected: Case) -> None:
    torch.testing.assert_close(got.x.cpu(), expected.x, rtol=1e-6, atol=1e-6)
    tolerance = TOLERANCE[expected.out.dtype]
    torch.testing.assert_close(got.out.cpu().float(), expected.out.float(), rtol=tolerance, atol=tolerance)


def test_the_reference_is_torchs_own_norm():
    case = random_case()
    row = torch.where(case.known, 0, 1 + int(case.step))
    gate, shift, scale = case.table[row][:, :, None].unbind(1)
    x = case.x + gate * (case.h + case.bias)
    reference.modulated_norm_(*case.args())
    torch.testing.assert_close(case.x, x)
    expected = functional.layer_norm(x, x.shape[-1:], eps=case.eps) * scale + shift
    torch.testing.assert_close(case.out, expected, rtol=1e-5, atol=1e-5)


@given(data=st.data())
def test_kernels_agree_with_the_reference(device_of, data):
    case = random_case(
        data.draw(st.sampled_from([0, 1, 3, 17])),
        data.draw(st.sampled_from([1, 2, 8, 16, 19])),
        data.draw(st.sampled_from([0, 1, 2, 5, 16, 24, 100, 192, 257, 512, 600, 1030])),
        rows=data.draw(st.integers(2, 4)),
        dtype=data.draw(st.sampled_from(DTYPES)),
        known=data.draw(st.booleans()),
        step_dtype=data.draw(st.sampled_from([None, torch.int32, torch.int64])),
        bias=data.draw(st.booleans()),
        gap=data.draw(st.integers(0, 2)),
        seed=data.draw(st.integers(0, 1000)),
    )
    got, expected = case.to(device_of), case.to("cpu")
    OPS.modulated_norm_(*got.args())
    reference.modulated_norm_(*expected.args())
    expect_equal(got, expected)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("width", [24, 192, 250])
def test_instruction_sets_and_threads_change_no_bit(width: int, dtype: torch.dtype):
    case = random_case(40, 16, width, dtype=dtype)
    expected = case.to("cpu")
    registration.OPS["modulated_norm_"].on_cpu(*expected.args(), threads=1)
    for simd in ops.build_info()["simd_supported"]:
        for threads in (1, 2, 3):
            got = case.to("cpu")
            registration.OPS["modulated_norm_"].on_cpu(*got.args(), threads=threads, simd=simd)
            assert torch.equal(got.x, expected.x) and torch.equal(got.out, expected.out)


def test_a_view_does_not_depend_on_its_batch(device):
    case = random_case(7, 5, 48).to(device)
    whole = case.to(device)
    OPS.modulated_norm_(*whole.args())
    for start, stop in ((0, 1), (1, 4), (4, 7)):
        part = slice(start, stop)
        alone = replace(
            case, x=case.x[part].clone(), out=case.out[part].clone(), h=case.h[part], known=case.known[part]
        )
        OPS.modulated_norm_(*alone.args())
        assert torch.equal(alone.x, whole.x[part]) and torch.equal(alone.out, whole.out[part])


def test_the_variance_is_that_of_the_deviations(device):
    # A mean a thousand times the deviation: a variance from sums of squares would have hardly a digit left.
    case = random_case(dtype=torch.float32).to(device)
    case.x.add_(1000.0)
    expected = case.to("cpu")
    exact = replace(expected, **{n: getattr(expected, n).double() for n in ("x", "out", "h", "table", "bias")})
    OPS.modulated_norm_(*case.args())
    row = torch.where(exact.known, 0, 1 + int(exact.step))
    gate, shift, scale = exact.table[row][:, :, None].unbind(1)
    x = exact.x + gate * (exact.h + exact.bias)
    out = functional.layer_norm(x, x.shape[-1:], eps=exact.eps) * scale + shift
    torch.testing.assert_close(case.out.cpu().double(), out, rtol=1e-3, atol=1e-3)


def test_not_finite_numbers_stay_in_their_token(device):
    case = random_case().to(device)
    case.h[1, 2, 3] = torch.nan
    case.x[3, 0, 1] = torch.inf
    expected = random_case().to(device)
    OPS.modulated_norm_(*case.args())
    OPS.modulated_norm_(*expected.args())
    spoilt = torch.zeros(5, 3, dtype=torch.bool, device=device)
    spoilt[1, 2] = spoilt[3, 0] = True
    assert not case.out[spoilt].isfinite().any()
    assert torch.equal(case.out[~spoilt], expected.out[~spoilt])


@pytest.mark.parametrize("step", [-1, 3, 2**31 - 1])
@pytest.mark.parametrize("backend", [OPS.modulated_norm_, reference.modulated_norm_], ids=["op", "reference"])
def test_a_step_outside_the_table_is_an_error_and_changes_nothing(backend, step: int):
    case = replace(random_case(), step=torch.tensor([step]))
    before = case.to("cpu")
    with pytest.raises(IndexError, match="step"):
        backend(*case.args())
    assert torch.equal(case.x, before.x) and torch.equal(case.out, before.out)


def test_opcheck(device):
    torch.library.opcheck(OPS.modulated_norm_.default, random_case().to(device).args())


@pytest.mark.parametrize("name", ["x", "out", "h", "table", "bias"])
def test_a_tensor_that_requires_grad_is_refused(name: str):
    case = random_case()
    getattr(case, name).requires_grad_()
    with pytest.raises(RuntimeError, match="no_grad"):
        OPS.modulated_norm_(*case.args())
    with torch.no_grad():
        OPS.modulated_norm_(*case.args())


WRONG = {
    "x": [torch.zeros(5, 3, 24).double(), torch.zeros(5, 72), torch.zeros(3, 5, 24).transpose(0, 1)],
    "out": [torch.zeros(5, 3, 24).double(), torch.zeros(5, 3, 23), torch.zeros(5, 3, 48)[..., ::2]],
    "h": [torch.zeros(5, 3, 24).bfloat16(), torch.zeros(4, 3, 24), torch.zeros(5, 3, 24, device="meta")],
    "table": [
        torch.zeros(1, 3, 24),
        torch.zeros(4, 2, 24),
        torch.zeros(4, 3, 24).half(),
        torch.zeros(4, 3, 48)[..., :24],
        torch.zeros(3, 24),
        torch.tensor(0.0),
    ],
    "known": [torch.zeros(5), torch.zeros(4, dtype=torch.bool), torch.zeros(5, 3, dtype=torch.bool)],
    "step": [torch.zeros(1), torch.zeros(2, dtype=torch.int64), torch.tensor(0)],
    "bias": [torch.zeros(23), torch.zeros(24).bfloat16(), torch.zeros(48)[::2]],
    "eps": [0.0, -1.0, float("nan")],
}


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("backend", [OPS.modulated_norm_, reference.modulated_norm_], ids=["op", "reference"])
def test_what_does_not_fit_is_refused(backend, name: str):
    for value in WRONG[name]:
        case = replace(random_case(), **{name: value})
        with pytest.raises((TypeError, ValueError)):
            backend(*case.args())


@pytest.mark.parametrize("written", ["x", "out"])
@pytest.mark.parametrize("other", ["x", "out", "h", "bias"])
def test_memory_that_is_shared_is_refused(written: str, other: str):
    if written == other:
        return
    case = random_case()
    ours, theirs = getattr(case, written), getattr(case, other)
    memory = torch.randn(ours.numel() + theirs.numel())
    start = ours.numel() - 1
    shared = {written: memory[: ours.numel()].view_as(ours), other: memory[start : start + theirs.numel()]}
    case = replace(case, **{**shared, other: shared[other].view_as(theirs)})
    before = memory.clone()
    with pytest.raises(ValueError, match=r"shares? memory"):
        OPS.modulated_norm_(*case.args())
    assert torch.equal(memory, before)
