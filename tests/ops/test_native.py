"""The native module: what it says of itself, which instruction set it takes, and parameters by name."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys

import pytest
import torch

from dimvida import ops
from dimvida.ops import native, registration

OPS = torch.ops.dimvida


def test_a_device_without_kernels_gets_the_reference():
    # QuantizedCPU and the like have none: the default registration covers them.
    for name in registration.OPS:
        assert torch._C._dispatch_has_kernel_for_dispatch_key(f"dimvida::{name}", "CompositeExplicitAutograd")
    assert ops.native_available("cpu")
    assert not ops.native_available("tpu")


def test_build_info_is_consistent():
    info = ops.build_info()
    assert set(info["simd_supported"]) <= set(info["simd_compiled"])
    assert info["simd"] == os.environ.get("DIMVIDA_SIMD", info["simd_supported"][-1])
    assert info["cuda"] == bool(info["cuda_archs"]) == (info["cuda_version"] is not None)
    assert ops.native_available("cuda") == info["cuda"]
    info["simd"] = "changed"
    assert ops.build_info()["simd"] != "changed"


# For each instruction set a process of its own, which all have imported torch before.
WHICH = """
import os, sys, traceback
import torch
for simd in sys.argv[1:]:
    if os.fork() == 0:
        code = 1
        try:
            os.environ["DIMVIDA_SIMD"] = simd
            from dimvida import ops
            z = torch.empty(2, 9)
            ops.philox_normal_(z, torch.arange(2), torch.tensor([1]), 0)
            print(simd, ops.build_info()["simd"], float(z.double().sum()), flush=True)
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    _, status = os.wait()
    print(simd, "ended with", os.waitstatus_to_exitcode(status), flush=True)
"""


@pytest.fixture(scope="module")
def said() -> subprocess.CompletedProcess[str]:
    """What processes of every instruction set, and of one that is not there, say."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", WHICH, *ops.build_info()["simd_supported"], "mmx"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True)


@pytest.mark.parametrize("simd", ops.build_info()["simd_supported"])
def test_the_environment_names_the_instruction_set(said, simd):
    z, ids, seed = torch.empty(2, 9), torch.arange(2), torch.tensor([1])
    ops.registration.OPS["philox_normal_"].on_cpu(z, ids, seed, 0, simd=simd)
    lines = [line for line in said.stdout.splitlines() if line.startswith(f"{simd} ")]
    assert lines == [f"{simd} {simd} {float(z.double().sum())}", f"{simd} ended with 0"]


def test_an_instruction_set_that_is_not_there_is_refused(said):
    assert "mmx ended with 1" in said.stdout.splitlines()
    assert "InputError: DIMVIDA_SIMD=mmx: choose from baseline" in said.stderr


@pytest.mark.parametrize("name", registration.OPS)
def test_what_a_schema_says_is_written_is_what_the_kernel_writes(name: str):
    op = registration.OPS[name]
    written = {a.name for a in getattr(OPS, name).default._schema.arguments if a.alias_info and a.alias_info.is_write}
    if op.result:
        written.add(op.result[0])
    assert set(getattr(native._native, f"{name.removesuffix('_')}_params").WRITTEN) == written


def test_parameters_are_taken_by_name_and_all_of_them():
    params = native._native.philox4x32_params
    assert params({"count": 0}) and params({"count": 0, "key": 0})
    with pytest.raises(TypeError, match="count is missing"):
        params({"key": 0})
    with pytest.raises(TypeError, match="none of a field"):
        params({"count": 0, "mask": 1})


def test_public_functions_have_the_signature_that_was_declared():
    assert list(inspect.signature(ops.philox_normal_).parameters) == ["z", "sample_ids", "seed", "draw"]
    with pytest.raises(RuntimeError, match="at most 1 argument"):
        ops.pack_images(torch.zeros(1, 1, 1, 1), clamp=True)
