"""Machine code of the CUDA kernels, and how many instructions of it a thread runs.

The code is that of ``nvcc`` with the flags of the build, read by ``nvdisasm``, which comes with the CUDA toolkit and
with the package triton. Counts are those of the longest way through a kernel: all forward branches are considered,
loops are gone through once, and calls are left out, which quotients and roots make for numbers near the ends of their
range. So they bound what a thread of a kernel without a loop runs, and need no GPU.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from native_build import ROOT, fail

FLAGS = ("-std=c++17", "-O3", "-fmad=false")
"""Those of cmake/cuda_kernels.cmake that decide what code there is."""

KERNEL = re.compile(r"^\.text\.(\w+):")
LABEL = re.compile(r"^(\.L_\w+):")
INSTRUCTION = re.compile(r"^\s*/\*[0-9a-f]+\*/\s+(.*?)\s*;")
GUARDED = re.compile(r"^@!?U?P\w+ ")
TARGET = re.compile(r"`\((\.L_\w+)\)")
MEMORY = re.compile(r"\b(LDG|STG)\.\w+(?:\.(U8|S8|U16|S16|64|128))?")
WIDTHS = {None: 4, "U8": 1, "S8": 1, "U16": 2, "S16": 2, "64": 8, "128": 16}


@dataclass(frozen=True)
class Code:
    """Instructions of a kernel in order, and the place that each label stands for."""

    instructions: list[str]
    labels: dict[str, int]


@dataclass(frozen=True)
class Way:
    """A way through a kernel: its instructions, and its loads from and stores to memory by their bytes."""

    instructions: int
    loads: Counter[int]
    stores: Counter[int]


def nvdisasm() -> str:
    """The disassembler: that on PATH, beside nvcc, or of triton."""
    beside = shutil.which("nvcc")
    triton = importlib.util.find_spec("triton")
    places = [Path(beside).resolve().parent] if beside else []
    places += [Path(triton.origin).parent / "backends" / "nvidia" / "bin"] if triton and triton.origin else []
    found = shutil.which("nvdisasm") or next((str(p / "nvdisasm") for p in places if (p / "nvdisasm").exists()), None)
    if found is None:
        raise fail("there is no nvdisasm: install the CUDA toolkit or the package triton")
    return found


def disassembled(source: Path, arch: str, folder: Path) -> str:
    """The machine code of a ``.cu`` file for one architecture, as text."""
    if not shutil.which("nvcc"):
        raise fail("there is no nvcc on PATH")
    cubin = folder / f"{source.stem}.cubin"
    command = ["nvcc", "-cubin", f"-arch={arch}", *FLAGS, "-I", str(ROOT / "csrc"), str(source), "-o", str(cubin)]
    for step in (command, [nvdisasm(), str(cubin)]):
        done = subprocess.run(step, capture_output=True, text=True)
        if done.returncode:
            raise fail(f"{Path(step[0]).name} failed:\n{done.stderr}")
    return done.stdout


def kernels(text: str) -> dict[str, Code]:
    """The kernels in the output of nvdisasm by their mangled names."""
    found: dict[str, Code] = {}
    code = None
    for line in text.splitlines():
        if match := KERNEL.match(line):
            code = found[match[1]] = Code([], {})
        elif line.lstrip().startswith(".section"):
            code = None
        elif code is None:
            continue
        elif match := LABEL.match(line):
            code.labels[match[1]] = len(code.instructions)
        elif match := INSTRUCTION.match(line):
            code.instructions.append(match[1])
    return found


def successors(code: Code, place: int) -> Iterator[int]:
    """Where a thread may be after an instruction, further down; nothing after a way that is not counted."""
    text = code.instructions[place]
    plain = GUARDED.sub("", text)
    operation = plain.split(".")[0].split()[0]
    if operation == "BRA":
        target = code.labels[TARGET.search(plain)[1]]
        if target > place:
            yield target
        # With a condition before the operation, or among what it is given.
        if plain == text and not re.search(r"\bU?P\d", plain):
            return
    elif operation in ("RET", "CALL") or (operation == "EXIT" and plain == text):
        return
    if place + 1 < len(code.instructions):
        yield place + 1


def begins_a_turn(code: Code, place: int) -> bool:
    """Whether a loop goes on with its next turn here, whatever holds: for a count that is the end."""
    text = code.instructions[place]
    target = TARGET.search(text) if text.startswith("BRA ") else None
    return target is not None and code.labels[target[1]] <= place


def longest_way(code: Code, without: str = "") -> Way:
    """The longest way from the first instruction to an end that goes through none that the pattern matches.

    Raises:
        ValueError: There is none.
    """
    avoided = re.compile(without) if without else None
    following: list[tuple[int, int | None] | None] = [None] * len(code.instructions)  # length, and what comes next
    for place in reversed(range(len(code.instructions))):
        text = code.instructions[place]
        if avoided and avoided.search(text):
            continue
        ends = "EXIT" in text or begins_a_turn(code, place)
        ways = [(following[s][0] + 1, s) for s in successors(code, place) if following[s] is not None]
        following[place] = max(ways, default=(1, None) if ends else None)
    if not following or following[0] is None:
        raise ValueError("no way leads through the kernel")
    loads: Counter[int] = Counter()
    stores: Counter[int] = Counter()
    at: int | None = 0
    while at is not None:
        if match := MEMORY.search(code.instructions[at]):
            (loads if match[1] == "LDG" else stores)[WIDTHS[match[2]]] += 1
        at = following[at][1]
    return Way(following[0][0], loads, stores)
