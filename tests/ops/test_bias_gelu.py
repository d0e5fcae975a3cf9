"""Bias and GELU: every kernel against torch's own."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from dimvida import ops
from dimvida.ops import reference, registration

OPS = torch.ops.dimvida
DTYPES = [torch.float32, torch.bfloat16, torch.float16]
TOLERANCE = {torch.float32: 1e-6, torch.bfloat16: 2**-8, torch.float16: 2**-10}


@given(
    rows=st.sampled_from([0, 1, 3, 70]),
    width=st.sampled_from([0, 1, 7, 16, 100, 768]),
    dtype=st.sampled_from(DTYPES),
    seed=st.integers(0, 1000),
)
def test_it_is_torchs_own(device_of, rows: int, width: int, dtype: torch.dtype, seed: int):
    g = torch.Generator().manual_seed(seed)
    x, bias = (4 * torch.randn(rows, width, generator=g)).to(dtype), torch.randn(width, generator=g)
    expected = functional.gelu(x.double() + bias.double(), approximate="tanh")
    for backend in (OPS.bias_gelu_, reference.bias_gelu_):
        got = x.to(device_of, copy=True)
        backend(got, bias.to(device_of))
        torch.testing.assert_close(got.cpu().double(), expected, rtol=TOLERANCE[dtype], atol=1e-6)


def test_all_numbers_of_a_low_dtype_and_what_is_not_finite(device):
    bits = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16)
    for dtype in (torch.bfloat16, torch.float16):
        x = bits.view(dtype)[None]
        got = x.to(device, copy=True)
        OPS.bias_gelu_(got, torch.zeros(x.shape[1], device=device))
        expected = functional.gelu(x.double(), approximate="tanh").to(dtype)
        torch.testing.assert_close(got.cpu(), expected, rtol=TOLERANCE[dtype], atol=1e-6, equal_nan=True)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_instruction_sets_and_threads_change_no_bit(dtype: torch.dtype):
    x, bias = (6 * torch.randn(400, 100)).to(dtype), torch.randn(100)
    x[0, 0] = torch.finfo(dtype).min  # of which float32 has no square
    expected = x.clone()
    registration.OPS["bias_gelu_"].on_cpu(expected, bias, threads=1)
    for simd in ops.build_info()["simd_supported"]:
        for threads in (1, 3):
            got = x.clone()
            registration.OPS["bias_gelu_"].on_cpu(got, bias, threads=threads, simd=simd)
            assert torch.equal(got, expected)


def test_opcheck(device):
    torch.library.opcheck(OPS.bias_gelu_.default, (torch.randn(3, 5, device=device), torch.randn(5, device=device)))


def test_what_does_not_fit_is_refused():
    x, bias = torch.randn(3, 5), torch.randn(5)
    wrong = [
        (x.double(), bias),
        (x[0], bias),
        (x.t(), torch.randn(3)),
        (x, bias[:4]),
        (x, bias.bfloat16()),
        (x, bias.to("meta")),
        (x, x[0]),
        (x.requires_grad_(), bias),
    ]
    for arguments in wrong:
        with pytest.raises((TypeError, ValueError, RuntimeError)):
            OPS.bias_gelu_(*arguments)
