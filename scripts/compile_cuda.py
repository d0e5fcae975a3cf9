"""Compiles the CUDA kernels with warnings as errors and prints what each takes on each architecture.

Fails where a kernel spills registers or keeps variables in local memory (a stack frame): both go through memory; where
one takes more registers than its limit here; and where one that moves several elements at a time stores two bytes
alone. The default architectures are those of the build (cmake/cuda_kernels.cmake). Without nvcc it says so and does
nothing.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import astuple, dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

from native_build import BUILDS, compile_targets, configure, fail

BUILD = BUILDS / "cuda"
KEPT = BUILD / "kept"  # what nvcc made on the way, such as PTX

ONE_BY_ONE = (
    "group_norm_silu_streamed_kernel",
    "masked_step_kernel",
    "modulated_norm_kernel<*, 0>",
    "bias_gelu_kernel",
    "residual_act_kernel<*>",
    "residual_norm_silu_kernel<*, 1*>",
    "images_to_patches_kernel",
)
"""Kernels that move an element at a time, for what no vector fits: they may store two bytes."""

REGISTERS = {
    "group_norm_silu_held_kernel<*, 3, [248]>": 40,  # six blocks on a multiprocessor
    "group_norm_silu_held_kernel*": 48,
    "masked_step_aligned_kernel*": 48,
    "modulated_norm_kernel<*, 2>": 48,
    "pack_*": 40,
}
"""The most that kernels may take, by the first pattern that fits."""


@dataclass(frozen=True)
class Usage:
    """What ptxas says of one kernel on one architecture; sizes in bytes, per thread but for shared memory."""

    kernel: str
    arch: str
    registers: int
    stack: int
    spill_stores: int
    spill_loads: int
    shared: int

    @property
    def uses_local_memory(self) -> bool:
        return any((self.stack, self.spill_stores, self.spill_loads))


ENTRY = re.compile(r"ptxas info\s*: Compiling entry function '([^']+)' for '([^']+)'")
FUNCTION = re.compile(r"ptxas info\s*: Function properties for (\S+)")
FRAME = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
USED = re.compile(r"ptxas info\s*: Used (\d+) registers")
STACK = re.compile(r"(\d+) bytes cumulative stack size")
SHARED = re.compile(r"(\d+) bytes smem")
PTX_ENTRY = re.compile(r"^\s*(?:\.visible )?\.entry (\w+)")
PTX_STORE = re.compile(r"^\s*(?:@\S+ )?st\.global\.[usb]16\b")


def number(pattern: re.Pattern[str], line: str) -> int:
    """What the pattern finds in the line, 0 where it finds nothing."""
    found = pattern.search(line)
    return int(found[1]) if found else 0


def parse(log: str) -> list[Usage]:
    """Reads the output of ``ptxas -v``, for several files and architectures after each other.

    Raises:
        ValueError: It is incomplete, or there is none.
    """
    found = []
    kernel = arch = function = ""
    frames: dict[str, tuple[int, int, int]] = {}  # of the functions since the last kernel began
    for line in log.splitlines():
        if match := ENTRY.search(line):
            if kernel:
                raise incomplete(kernel, arch)
            kernel, arch = match.groups()
            frames.clear()
        elif match := FUNCTION.search(line):
            function = match[1]
        elif match := FRAME.search(line):
            frames[function] = (int(match[1]), int(match[2]), int(match[3]))
        elif match := USED.search(line):
            if kernel not in frames:
                raise incomplete(kernel or "a kernel", arch)
            frame, stores, loads = frames[kernel]
            # With the stack of the functions that it calls, whose own lines come after this one.
            stack = max(frame, number(STACK, line))
            found.append(Usage(kernel, arch, int(match[1]), stack, stores, loads, number(SHARED, line)))
            kernel = ""
    if kernel:
        raise incomplete(kernel, arch)
    if not found:
        raise ValueError("there is no output of ptxas -v")
    return named(found)


def incomplete(kernel: str, arch: str) -> ValueError:
    return ValueError(f"the output of ptxas about {kernel} for {arch} is incomplete")


def named(usages: list[Usage]) -> list[Usage]:
    """The same with readable names, sorted by them; architectures stay in their order."""
    names = demangled([u.kernel for u in usages])
    readable = [replace(u, kernel=name) for u, name in zip(usages, names, strict=True)]
    return sorted(readable, key=lambda u: u.kernel)


def demangled(kernels: list[str]) -> list[str]:
    """Mangled names as readable ones."""
    done = subprocess.run(["c++filt"], input="\n".join(kernels), capture_output=True, text=True, check=True)
    return [short_name(name) for name in done.stdout.splitlines()]


def short_name(signature: str) -> str:
    """``void dimvida::cuda::f<true>(P)`` as ``f<true>``."""
    name = signature.removeprefix("void ").removesuffix(" [clone]")
    depth = 0
    for place, character in enumerate(name):
        depth += {"<": 1, ">": -1}.get(character, 0)
        if character == "(" and depth == 0:
            name = name[:place]
            break
    head, bracket, rest = name.partition("<")
    return head.rpartition("::")[2] + bracket + rest.replace("dimvida::", "")


def table(usages: list[Usage]) -> str:
    header = ("kernel", "arch", "registers", "stack", "spill stores", "spill loads", "shared")
    rows = [header, *(tuple(map(str, astuple(u))) for u in usages)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [cell.rjust(width) for cell, width in zip(row, widths, strict=True)]
        cells[:2] = [row[0].ljust(widths[0]), row[1].ljust(widths[1])]
        lines.append("  ".join(cells))
    return "\n".join(lines)


def problems(usages: list[Usage]) -> list[str]:
    """What is wrong, a line for each kernel and architecture."""
    lines = []
    for u in usages:
        if u.uses_local_memory:
            spills = f"spills {u.spill_stores} bytes and loads {u.spill_loads}"
            lines.append(f"{u.kernel} on {u.arch} has a stack frame of {u.stack} bytes, {spills}")
        limit = next((most for pattern, most in REGISTERS.items() if fnmatchcase(u.kernel, pattern)), u.registers)
        if u.registers > limit:
            lines.append(f"{u.kernel} on {u.arch} takes {u.registers} registers, more than {limit}")
    archs = {u.arch for u in usages}
    for kernel, count in Counter(u.kernel for u in usages).items():
        if count != len(archs):
            lines.append(f"{kernel} was compiled for {count} of {len(archs)} architectures")
    return lines


def two_byte_stores(ptx: str) -> list[str]:
    """Kernels in PTX that store two bytes alone although they move several elements at a time, by readable names."""
    found: dict[str, None] = {}
    kernel = ""
    for line in ptx.splitlines():
        if match := PTX_ENTRY.search(line):
            kernel = match[1]
        elif PTX_STORE.search(line):
            found[kernel] = None
    names = demangled(list(found)) if found else []
    return [name for name in names if not any(fnmatchcase(name, pattern) for pattern in ONE_BY_ONE)]


def report(log: str, ptx: str = "") -> int:
    try:
        usages = parse(log)
    except ValueError as error:
        raise fail(str(error)) from None
    print(table(usages))
    found = problems(usages) + [f"{kernel} stores elements of two bytes one by one" for kernel in two_byte_stores(ptx)]
    for line in found:
        print(f"error: {line}", file=sys.stderr)
    return 1 if found else 0


def build(architectures: str, jobs: int | None) -> str:
    """Compiles all kernels from scratch and returns what ptxas said; PTX is in ``KEPT``."""
    shutil.rmtree(KEPT, ignore_errors=True)
    KEPT.mkdir(parents=True)
    flags = f"-Xptxas=-v --keep --keep-dir={KEPT}"
    configure(BUILD, DIMVIDA_CUDA="on", DIMVIDA_CUDA_ARCHS=architectures, CMAKE_CUDA_FLAGS=flags)
    compile_targets(BUILD, "clean")
    return compile_targets(BUILD, "kernels_cuda", jobs=jobs)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--archs", default="", metavar="LIST", help="architectures as CMake names them, such as '80-real;90-real'"
    )
    parser.add_argument("--jobs", type=int, metavar="N", help="compile N files at a time (default: one per processor)")
    parser.add_argument("--log", type=Path, metavar="FILE", help="read this output of ptxas -v instead of compiling")
    parser.add_argument("--ptx", type=Path, metavar="FILE", help="with --log, the PTX that it is about")
    options = parser.parse_args()
    if options.log:
        return report(options.log.read_text(), options.ptx.read_text() if options.ptx else "")
    if not os.environ.get("CUDACXX") and not shutil.which("nvcc"):
        print("skipped: there is no nvcc on PATH, and CUDACXX does not name one")
        return 0
    log = build(options.archs, options.jobs)
    return report(log, "\n".join(path.read_text() for path in sorted(KEPT.glob("*.ptx"))))


if __name__ == "__main__":
    sys.exit(main())
