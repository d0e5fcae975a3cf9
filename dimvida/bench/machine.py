"""Where and with what a measurement was made. No names of hosts, users or folders."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from dimvida import ops
from dimvida._version import __version__

# Instruction sets that decide how fast a matrix product or a kernel is.
FLAGS = ("avx2", "fma", "f16c", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_bf16", "bf16", "sve")
CPUINFO = Path("/proc/cpuinfo")
MOUNTS = Path("/proc/self/mounts")


@contextmanager
def torch_threads(threads: int | None) -> Iterator[None]:
    """That many CPU threads in torch and in the kernels, for the time being; None leaves them as they are."""
    before = torch.get_num_threads()
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def versions() -> dict[str, str | None]:
    """Versions of what runs; ``commit`` is that of a checkout, with ``-dirty`` if files differ from it."""
    return {
        "dimvida": __version__,
        "commit": commit(Path(__file__).parents[2]),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "cuda": torch.version.cuda,
    }


def hardware(device: torch.device) -> dict[str, Any]:
    """Processor, threads and, if ``device`` is one, GPU."""
    facts = _cpuinfo()
    native = ops.build_info() if ops.native_available() else {}
    values: dict[str, Any] = {
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": facts.get("model name") or platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "cpu_flags": [flag for flag in FLAGS if flag in cpu_flags()],
        "torch_simd": torch.backends.cpu.get_cpu_capability(),
        "native_simd": native.get("simd"),
        "gpu": None,
    }
    if device.type == "cuda":
        gpu = torch.cuda.get_device_properties(device)
        values["gpu"] = {
            "name": gpu.name,
            "capability": f"{gpu.major}.{gpu.minor}",
            "multiprocessors": gpu.multi_processor_count,
            "memory_gib": round(gpu.total_memory / 2**30, 1),
        }
    return values


def cpu_flags() -> frozenset[str]:
    """Instruction sets of the processor as Linux names them; empty on other systems."""
    facts = _cpuinfo()
    return frozenset((facts.get("flags") or facts.get("Features", "")).split())  # x86 and Arm


def commit(checkout: Path) -> str | None:
    """The commit that a checkout is at, or None if it is none or git is not there."""
    if not (checkout / ".git").exists():
        return None
    command = ["git", "-C", str(checkout), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None


def filesystem(folder: Path) -> str | None:
    """Type of the file system that a folder is on, such as ``ext4`` or ``tmpfs``, as Linux tells it."""
    try:
        mounts = [line.split()[1:3] for line in MOUNTS.read_text().splitlines()]
    except OSError:
        return None
    place = folder.resolve()
    holding = [(point, kind) for point, kind in mounts if place.is_relative_to(point)]
    return max(holding, key=lambda mount: len(mount[0]))[1] if holding else None


def _cpuinfo() -> dict[str, str]:
    """Keys and values of the first processor."""
    try:
        lines = CPUINFO.read_text().split("\n\n")[0].splitlines()
    except OSError:
        return {}
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
