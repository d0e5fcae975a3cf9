"""Runs the kernels' tests under AddressSanitizer and UndefinedBehaviorSanitizer.

Builds the native module into build/sanitized with both sanitizers: the CPU kernels of every instruction set, and the
CUDA kernels compiled for the host (tests/cuda_on_host), so no nvcc and no GPU is needed. Then runs pytest on that
module, with the options given here or on tests/ops and tests/cuda_on_host.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

from native_build import BUILDS, ROOT, compile_targets, compiler, configure, fail

BUILD = BUILDS / "sanitized"
PACKAGE = BUILD / "package"
DEFAULT_TESTS = ["-q", "tests/ops", "tests/cuda_on_host"]

# Runs pytest with the sanitized tree first on the path, where `python -m pytest` would have the working folder.
PYTEST = """
import sys
sys.path[0] = {package!r}
from dimvida import ops
assert ops.build_info().get("sanitized"), "the sanitized module was not imported"
import pytest
sys.exit(pytest.main(sys.argv[1:]))
"""


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--jobs", type=int, metavar="N", help="compile N files at a time (default: one per processor)")
    parser.add_argument(
        "pytest", nargs="*", metavar="...", help="options for pytest, after -- if they begin with a dash"
    )
    options = parser.parse_args()
    build(options.jobs)
    command = [sys.executable, "-c", PYTEST.format(package=str(PACKAGE))]
    # A report goes past Python to the standard error, where pytest would keep it and end with the process.
    command += ["--capture=sys", *(options.pytest or DEFAULT_TESTS)]
    return subprocess.run(command, cwd=ROOT, env=environment()).returncode


def build(jobs: int | None) -> None:
    """Builds the modules and lays out a package around them."""
    # Switching the stacks of the threads takes assembly, which is written for one processor.
    on_host = platform.machine() == "x86_64"
    configure(
        BUILD / "cmake",
        CMAKE_BUILD_TYPE="Debug",
        DIMVIDA_SANITIZE="ON",
        DIMVIDA_CUDA="off",
        DIMVIDA_CUDA_ON_HOST="ON" if on_host else "OFF",
    )
    compile_targets(BUILD / "cmake", "_native", *(["kernels_on_host"] if on_host else []), jobs=jobs)
    lay_out()


def lay_out() -> None:
    """A tree of links to the package's sources, with the sanitized modules in place of the usual one."""
    shutil.rmtree(PACKAGE, ignore_errors=True)
    ops = PACKAGE / "dimvida" / "ops"
    ops.mkdir(parents=True)
    for source in (ROOT / "dimvida").iterdir():
        if source.name != "ops":
            (PACKAGE / "dimvida" / source.name).symlink_to(source)
    for source in (ROOT / "dimvida" / "ops").glob("*.py"):
        (ops / source.name).symlink_to(source)
    for module in (BUILD / "cmake").glob("_native.*.so"):
        (ops / module.name).symlink_to(module)
    for module in (BUILD / "cmake").glob("kernels_on_host.*.so"):
        (PACKAGE / module.name).symlink_to(module)


def environment() -> dict[str, str]:
    """What a Python needs that was not built with the sanitizers."""
    settings = {
        # Python and torch do not free everything at exit. To abort makes pytest say which test it was in.
        "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=1",
        "UBSAN_OPTIONS": "print_stacktrace=1:abort_on_error=1",
        "PYTHONPATH": str(PACKAGE),
        # Its own library comes first, or it could not take over malloc; it looks for the C++ exceptions at start.
        "LD_PRELOAD": f"{library('libasan.so')} {library('libstdc++.so')}",
    }
    return {**os.environ, **settings}


def library(name: str) -> Path:
    found = subprocess.run([compiler(), f"-print-file-name={name}"], capture_output=True, text=True)
    path = Path(found.stdout.strip())
    if not path.is_absolute():
        raise fail(f"{compiler()} has no {name}: install the sanitizers' libraries of GCC")
    return path.resolve()


if __name__ == "__main__":
    sys.exit(main())
