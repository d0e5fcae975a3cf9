"""What stands between an autoencoder's convolutions: residual_act_ and residual_norm_silu_."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from dimvida import ops
from dimvida.ops import reference, registration

DTYPES = [torch.float32, torch.bfloat16, torch.float16]
TOLERANCE = {torch.float32: 2e-6, torch.bfloat16: 2**-7, torch.float16: 2**-10}
CHANNELS = st.sampled_from([1, 3, 4, 8, 20, 64, 260, 600])


@st.composite
def summands(draw, overlaps=(0, 1), channels=CHANNELS):
    """out, made, bias, residual and total, or the last two None."""
    scale = draw(st.sampled_from([1, 2, 3]))
    overlap = draw(st.sampled_from(overlaps)) if scale == 2 else 0
    dtype, channels = draw(st.sampled_from(DTYPES)), draw(channels)
    batch, rows, columns = draw(st.integers(0, 3)), draw(st.integers(1, 3)), draw(st.integers(1, 4))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 1000)))

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).to(dtype)

    made = normal(batch, rows + overlap, columns + overlap, scale * scale * channels)
    height, width = scale * rows, scale * columns
    factor = draw(st.sampled_from([None, *(f for f in (1, 2, 3) if height % f == width % f == 0)]))
    return (
        torch.full((batch, height, width, channels), torch.nan, dtype=dtype),
        made,
        torch.randn(made.shape[3], generator=generator),
        None if factor is None else normal(batch, height // factor, width // factor, channels),
        normal(batch, height, width, channels) if draw(st.booleans()) else None,
    )


def clones(*values):
    return [value.clone() if isinstance(value, Tensor) else value for value in values]


def agree(name: str, arguments: list, device: str) -> None:
    """The op against the reference; and each instruction set and number of threads against the first, bit for bit."""
    expected = clones(*arguments)
    getattr(reference, name)(*expected)
    got = [value.to(device) if isinstance(value, Tensor) else value for value in clones(*arguments)]
    getattr(ops, name)(*got)
    tolerance = TOLERANCE[arguments[0].dtype]
    for ours, theirs in zip(got, expected, strict=True):
        if isinstance(ours, Tensor):
            torch.testing.assert_close(ours.cpu(), theirs, rtol=tolerance, atol=4 * tolerance)
    if device == "cpu":
        for simd in ops.build_info()["simd_supported"]:
            again = clones(*arguments)
            registration.OPS[name].on_cpu(*again, threads=2, simd=simd)
            pairs = [pair for pair in zip(again, got, strict=True) if isinstance(pair[0], Tensor)]
            assert all(torch.equal(ours, theirs) for ours, theirs in pairs)


@settings(max_examples=40)
@given(case=summands(), slope=st.sampled_from([None, 0.2, 1.0]))
def test_residual_act_agrees_with_the_reference(device_of, case, slope):
    agree("residual_act_", [*case, slope], device_of)


@settings(max_examples=40)
@given(case=summands(overlaps=(0,)), data=st.data())
def test_residual_norm_silu_agrees_with_the_reference(device_of, case, data):
    out, made, bias, residual, total = case
    channels = out.shape[3]
    groups = data.draw(st.sampled_from([g for g in (1, 2, 5, 8) if channels % g == 0]))
    norm = torch.rand(channels) + 0.5, torch.randn(channels), groups, 1e-2
    agree("residual_norm_silu_", [out, made, bias, *norm, residual, total], device_of)


def test_a_shuffle_is_the_pixel_shuffle():
    made, out = torch.randn(2, 3, 4, 12), torch.empty(2, 6, 8, 3)
    ops.residual_act_(out, made, torch.zeros(12), slope=1.0)
    blocks_last = made.unflatten(3, (4, 3)).transpose(3, 4).flatten(3)  # as PixelShuffle has them
    assert torch.equal(out.permute(0, 3, 1, 2), functional.pixel_shuffle(blocks_last.permute(0, 3, 1, 2), 2))


def test_the_norm_is_the_group_norm_over_places():
    made, weight, bias = torch.randn(2, 5, 3, 12, dtype=torch.float32), torch.rand(12), torch.randn(12)
    out = torch.empty_like(made)
    ops.residual_norm_silu_(out, made, torch.zeros(12), weight, bias, 4)
    expected = functional.silu(functional.group_norm(made.permute(0, 3, 1, 2), 4, weight, bias))
    torch.testing.assert_close(out.permute(0, 3, 1, 2), expected)


def test_results_may_take_the_place_of_what_is_read():
    made, residual, bias, weight = torch.randn(2, 4, 4, 8), torch.randn(2, 4, 4, 8), torch.randn(8), torch.ones(8)
    for name, rest in (("residual_act_", ()), ("residual_norm_silu_", (weight, bias, 2, 1e-5))):
        out, total = torch.empty(2, *made.shape)
        getattr(ops, name)(out, made, bias, *rest, residual, total)
        ours, theirs = made.clone(), residual.clone()
        getattr(ops, name)(ours, ours, bias, *rest, theirs, theirs)
        assert torch.equal(ours, out) and torch.equal(theirs, total)


def test_memory_that_is_read_in_another_order_may_not_be_written():
    memory, bias = torch.randn(2 * 4 * 4 * 8), torch.zeros(32)
    out, made, total = memory.view(2, 4, 4, 8), memory.view(2, 2, 2, 32), torch.empty(2, 4, 4, 8)
    with pytest.raises(ValueError, match="out shares memory with made"):
        ops.residual_act_(out, made, bias)
    with pytest.raises(ValueError, match="total shares memory with made"):
        ops.residual_act_(total, made, bias, total=out)
    with pytest.raises(ValueError, match="out and total share memory"):
        ops.residual_act_(out, torch.zeros(2, 4, 4, 8), torch.zeros(8), total=out)
    with pytest.raises(ValueError, match="share"):
        ops.residual_act_(out, torch.zeros(2, 4, 4, 8), torch.zeros(8), memory[:64].view(2, 2, 2, 8))


def arguments(**changes):
    tensors = dict(
        out=torch.zeros(2, 4, 4, 8),
        made=torch.randn(2, 3, 3, 32),
        bias=torch.zeros(32),
        residual=torch.zeros(2, 2, 2, 8),
        total=torch.zeros(2, 4, 4, 8),
    )
    return {**tensors, **changes}


def norm_arguments(**changes):
    norm = dict(norm_weight=torch.ones(8), norm_bias=torch.zeros(8), groups=2)
    return {**arguments(made=torch.randn(2, 2, 2, 32)), **norm, **changes}


def test_opcheck_and_what_requires_grad(device):
    for op, given_ in ((ops.residual_act_, arguments()), (ops.residual_norm_silu_, norm_arguments())):
        given_ = {name: v.to(device) if isinstance(v, Tensor) else v for name, v in given_.items()}
        overload = getattr(torch.ops.dimvida, op.__name__).default
        torch.library.opcheck(overload, (), given_)
        with pytest.raises(RuntimeError, match="no_grad"):
            op(**{**given_, "made": given_["made"].requires_grad_()})


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"out": torch.zeros(2, 4, 8)}, ValueError, "out and made must have shapes"),
        ({"out": torch.zeros(2, 4, 4, 8, dtype=torch.float64)}, TypeError, "out must be float32 or bfloat16"),
        ({"made": torch.zeros(2, 3, 3, 32).half()}, TypeError, "made must be float32, not float16"),
        ({"made": torch.zeros(2, 3, 3, 24)}, ValueError, "24 channels are not s x s blocks of 8"),
        ({"made": torch.zeros(2, 3, 2, 32)}, ValueError, r"made must have shape \[2, 3, 3, 32\]"),
        ({"made": torch.zeros(2, 1, 1, 72), "bias": torch.zeros(72)}, ValueError, "whole blocks of 3 x 3 pixels"),
        ({"made": torch.zeros(2, 1, 1, 8 * 1600)}, ValueError, "at most 8192 channels"),
        ({"bias": torch.zeros(8)}, ValueError, r"bias must have shape \[32\]"),
        ({"residual": torch.zeros(2, 3, 3, 8)}, ValueError, r"residual must have shape \[2, 4, 4, 8\]"),
        ({"residual": torch.zeros(2, 8, 8, 8)}, ValueError, "residual must repeat to 4 x 4 pixels"),
        ({"total": torch.zeros(2, 4, 4, 4)}, ValueError, "total must have shape"),
    ],
)
def test_what_does_not_fit_is_refused(changes, error, message):
    for op in (ops.residual_act_, reference.residual_act_):
        with pytest.raises(error, match=message):
            op(**arguments(**changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"groups": 3}, "groups must divide the 8 channels, not 3"),
        ({"groups": 0}, "groups must divide"),
        ({"eps": 0.0}, "eps must be positive"),
        ({"norm_weight": torch.ones(4)}, "norm_weight must have shape"),
        ({"norm_bias": torch.ones(4)}, "norm_bias must have shape"),
        ({"made": torch.zeros(2, 3, 3, 32)}, "must not have a row and column more"),
    ],
)
def test_norms_that_do_not_fit_are_refused(changes, message):
    for op in (ops.residual_norm_silu_, reference.residual_norm_silu_):
        with pytest.raises(ValueError, match=message):
            op(**norm_arguments(**changes))
