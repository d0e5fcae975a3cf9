"""Proof that the sanitized build is alive: kernels that are given too little memory are caught."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import dimvida
from dimvida import ops
from dimvida.ops import native

pytestmark = pytest.mark.skipif(
    not ops.build_info().get("sanitized"), reason="the native module is not built with sanitizers"
)

ON_HOST = ops.build_info().get("cuda_on_host")
needs_cuda_on_host = pytest.mark.skipif(not ON_HOST, reason="this is no build of the CUDA kernels for the host")

# The modules without torch, which takes long to import, on arrays of their own; `step` makes the parameters of a
# masked step with a batch of choice.
PREAMBLE = """
import array, importlib.util, math
spec = importlib.util.spec_from_file_location("_native", {path!r})
native = importlib.util.module_from_spec(spec)
spec.loader.exec_module(native)
B, V, D = 3, 2, 8
arrays = [array.array("f", [0.5] * (B * V * D)) for _ in range(3)]
arrays += [array.array("B", [0] * (B * V)), array.array("f", [0.8, 0.6, 0.5, 0.4, -0.1, 0.3, 0, 0])]
arrays += [array.array("q", [0]), array.array("q", range(B)), array.array("q", [1])]

def address(values):
    return values.buffer_info()[0]

def step(batch, offset=0):
    names = ("x", "x0_prev", "model_output", "known", "table", "step", "sample_ids", "seed")
    fields = dict(zip(names, map(address, arrays)))
    fields["x"] += offset
    fields.update(batch=batch, views=V, dim=D, table_rows=1, clip=math.inf)
    fields.update(step_dtype=native.DTYPES["int64"], model_output_dtype=0, x_cast_dtype=0)
    return native.masked_step_params(fields)
"""


def run(code: str) -> subprocess.CompletedProcess[str]:
    """Runs Python on the modules under test; the sanitizers' settings are in the environment."""
    return subprocess.run(
        [sys.executable, "-c", PREAMBLE.format(path=native._native.__file__) + code],
        cwd=Path(dimvida.__file__).parents[1],
        # Python's own pools would hide where an array ends.
        env={**os.environ, "PYTHONMALLOC": "malloc"},
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("simd", ops.build_info()["simd_supported"])
def test_a_batch_that_is_larger_than_its_tensors_is_caught_on_the_cpu(simd):
    call = "print(native.masked_step_cpu(step({batch}), 1, {simd!r}))"
    right = run(call.format(batch="B", simd=simd))
    assert (right.returncode, right.stdout) == (0, "0\n"), right.stderr
    wrong = run(call.format(batch="B + 1", simd=simd))
    assert wrong.returncode != 0
    assert "AddressSanitizer: heap-buffer-overflow" in wrong.stderr
    assert f"dimvida::cpu::{simd}" in wrong.stderr


@needs_cuda_on_host
def test_a_batch_that_is_larger_than_its_tensors_is_caught_in_a_cuda_kernel():
    right = run("print(native.masked_step_cuda(step(B), 0))")
    assert (right.returncode, right.stdout) == (0, "0\n"), right.stderr
    wrong = run("print(native.masked_step_cuda(step(B + 1), 0))")
    assert wrong.returncode != 0
    assert "AddressSanitizer: heap-buffer-overflow" in wrong.stderr
    assert "masked_step_aligned_kernel" in wrong.stderr and "masked_step.cu" in wrong.stderr


@needs_cuda_on_host
def test_a_vector_load_that_is_not_aligned_is_caught():
    call = "import kernels_on_host\nprint(kernels_on_host.masked_step_aligned(step(B - 1, {offset})))"
    right = run(call.format(offset=16))
    assert (right.returncode, right.stdout) == (0, "0\n"), right.stderr
    wrong = run(call.format(offset=4))
    assert wrong.returncode != 0
    assert "misaligned address" in wrong.stderr and "uint4" in wrong.stderr


@needs_cuda_on_host
def test_shared_memory_ends_where_the_launch_says():
    call = """
import kernels_on_host
values, sums = array.array("f", [1] * 64), array.array("f", [0])
print(kernels_on_host.sum(address(values), address(sums), 64, {slots}, 8, 1, 64), sums[0])
"""
    right = run(call.format(slots=2))
    assert (right.returncode, right.stdout) == (0, "0 64.0\n"), right.stderr
    wrong = run(call.format(slots=3))
    assert wrong.returncode != 0
    assert "AddressSanitizer: heap-buffer-overflow" in wrong.stderr and "sum_kernel" in wrong.stderr
