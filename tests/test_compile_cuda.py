"""scripts/compile_cuda.py: what it reads from ptxas, what it refuses, and that the sources pass."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "scripts" / "compile_cuda.py"

# What nvcc 13.0 printed, shortened.
CLEAN = """\
[1/4] Building CUDA object CMakeFiles/kernels_cuda.dir/csrc/cuda/masked_step.cu.o
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function '_ZN7dimvida4cuda18masked_step_kernelILb1EjEEvNS_16MaskedStepParamsE' for 'sm_80'
ptxas info    : Function properties for _ZN7dimvida4cuda18masked_step_kernelILb1EjEEvNS_16MaskedStepParamsE
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 35 registers, used 0 barriers, 480 bytes cmem[0]
ptxas info    : Compile time = 163.216 ms
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function '_ZN7dimvida4cuda18masked_step_kernelILb1EjEEvNS_16MaskedStepParamsE' for 'sm_90'
ptxas info    : Function properties for _ZN7dimvida4cuda18masked_step_kernelILb1EjEEvNS_16MaskedStepParamsE
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 34 registers, used 0 barriers
ptxas info    : Compile time = 60.546 ms
[2/4] Building CUDA object CMakeFiles/kernels_cuda.dir/csrc/cuda/pack_images.cu.o
ptxas info    : Compiling entry function '_ZN7dimvida4cuda18pack_images_kernelENS_16PackImagesParamsE' for 'sm_80'
ptxas info    : Function properties for _ZN7dimvida4cuda18pack_images_kernelENS_16PackImagesParamsE
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 32 registers, used 0 barriers, 448 bytes cmem[0]
ptxas info    : Compiling entry function '_ZN7dimvida4cuda18pack_images_kernelENS_16PackImagesParamsE' for 'sm_90'
ptxas info    : Function properties for _ZN7dimvida4cuda18pack_images_kernelENS_16PackImagesParamsE
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 30 registers, used 0 barriers
"""  # noqa: E501
SPILLS = """\
ptxas info    : Compiling entry function '_ZN7dimvida4cuda22group_norm_silu_kernelILb0EEEvNS_19GroupNormSiluParamsEib' for 'sm_90'
ptxas info    : Function properties for _ZN7dimvida4cuda22group_norm_silu_kernelILb0EEEvNS_19GroupNormSiluParamsEib
    64 bytes stack frame, 44 bytes spill stores, 44 bytes spill loads
ptxas info    : Used 80 registers, used 0 barriers, 64 bytes cumulative stack size
ptxas info    : Compile time = 3115.444 ms
"""  # noqa: E501
SHARED_AND_CALLS = """\
ptxas info    : Compiling entry function '_ZN5tests5callsEPfi' for 'sm_80'
ptxas info    : Function properties for _ZN5tests5callsEPfi
    64 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 26 registers, used 0 barriers, 64 bytes cumulative stack size, 364 bytes cmem[0]
ptxas info    : Compile time = 18.799 ms
ptxas info    : Function properties for _ZN5tests6helperEfi
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Compiling entry function '_ZN5tests10shared_sumILi256EEEvPKfPf' for 'sm_80'
ptxas info    : Function properties for _ZN5tests10shared_sumILi256EEEvPKfPf
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 30 registers, used 1 barriers, 1024 bytes smem, 368 bytes cmem[0]
"""


@pytest.fixture
def read(tmp_path: Path):
    """Runs the script on a log; returns its exit status, table and errors, by lines."""

    def call(log: str, ptx: str = "") -> tuple[int, list[str], list[str]]:
        for name, text in (("log", log), ("ptx", ptx)):
            (tmp_path / name).write_text(text)
        command = [sys.executable, SCRIPT, "--log", tmp_path / "log", "--ptx", tmp_path / "ptx"]
        done = subprocess.run(command, capture_output=True, text=True)
        return done.returncode, done.stdout.splitlines(), done.stderr.splitlines()

    return call


def test_a_table_of_every_kernel_and_architecture(read):
    status, table, errors = read(CLEAN)
    assert (status, errors) == (0, [])
    assert [line.split() for line in table] == [
        ["kernel", "arch", "registers", "stack", "spill", "stores", "spill", "loads", "shared"],
        ["masked_step_kernel<true,", "unsigned", "int>", "sm_80", "35", "0", "0", "0", "0"],
        ["masked_step_kernel<true,", "unsigned", "int>", "sm_90", "34", "0", "0", "0", "0"],
        ["pack_images_kernel", "sm_80", "32", "0", "0", "0", "0"],
        ["pack_images_kernel", "sm_90", "30", "0", "0", "0", "0"],
    ]


def test_a_kernel_that_spills_fails(read):
    status, table, errors = read(SPILLS)
    assert status == 1
    assert table[1].split() == ["group_norm_silu_kernel<false>", "sm_90", "80", "64", "44", "44", "0"]
    assert errors == [
        "error: group_norm_silu_kernel<false> on sm_90 has a stack frame of 64 bytes, spills 44 bytes and loads 44"
    ]


def test_a_kernel_that_takes_more_registers_than_its_limit_fails(read):
    status, _, errors = read(CLEAN.replace("Used 30 registers", "Used 41 registers"))
    assert status == 1
    assert errors == ["error: pack_images_kernel on sm_90 takes 41 registers, more than 40"]


PTX = """\
.visible .entry _ZN7dimvida4cuda18masked_step_kernelENS_16MaskedStepParamsE(
\tst.global.u16 \t[%rd1], %rs1;
.visible .entry _ZN7dimvida4cuda26masked_step_aligned_kernelINS_8BFloat16EEEvNS_16MaskedStepParamsENS0_12AlignedQuadsE(
\tst.global.v2.u32 \t[%rd1], {%r50, %r49};
\tst.global.u8 \t[%rd1], %r1;
"""


def test_two_bytes_are_stored_alone_only_by_kernels_that_move_one_element_at_a_time(read):
    assert read(CLEAN, PTX)[0] == 0
    status, _, errors = read(CLEAN, PTX + "\t@%p1 st.global.b16 \t[%rd1], %rs1;\n")
    assert status == 1
    assert errors == ["error: masked_step_aligned_kernel<BFloat16> stores elements of two bytes one by one"]


def test_shared_memory_and_a_stack_frame_without_spills_are_read(read):
    status, table, errors = read(SHARED_AND_CALLS)
    assert table[1].split() == ["calls", "sm_80", "26", "64", "0", "0", "0"]
    assert table[2].split() == ["shared_sum<256>", "sm_80", "30", "0", "0", "0", "1024"]
    assert status == 1 and errors[0].startswith("error: calls on sm_80 has a stack frame of 64 bytes")


def test_the_stack_of_a_called_function_is_the_kernels(read):
    own_frame = SHARED_AND_CALLS.replace("    64 bytes stack frame", "    0 bytes stack frame")
    assert own_frame != SHARED_AND_CALLS
    assert read(own_frame)[1] == read(SHARED_AND_CALLS)[1]


@pytest.mark.parametrize(
    ("log", "message"),
    [
        ("", "there is no output of ptxas -v"),
        ("ninja: no work to do.\n", "there is no output of ptxas -v"),
        (CLEAN[: CLEAN.rindex("ptxas info")], "is incomplete"),
        (CLEAN.replace("ptxas info    : Used 34", "ptxas: used 34"), "is incomplete"),
        ("ptxas info    : Used 30 registers\n" + CLEAN, "is incomplete"),
    ],
)
def test_a_log_that_lacks_something_is_no_success(read, log, message):
    status, table, errors = read(log)
    assert status == 1 and table == []
    assert len(errors) == 1 and errors[0].startswith("error: ") and message in errors[0]


def test_a_kernel_that_lacks_an_architecture_fails(read):
    start = CLEAN.rindex("ptxas info    : Compiling")
    status, _, errors = read(CLEAN[:start])
    assert status == 1
    assert errors == ["error: pack_images_kernel was compiled for 1 of 2 architectures"]


def test_without_nvcc_it_says_so_and_succeeds(tmp_path):
    environment = {**os.environ, "PATH": str(tmp_path), "CUDACXX": ""}
    done = subprocess.run([sys.executable, SCRIPT], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "skipped: there is no nvcc on PATH, and CUDACXX does not name one\n"
