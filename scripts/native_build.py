"""Builds of the native module for checks, beside the one in the package: what scripts/*.py share."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BUILDS = ROOT / "build"


def fail(message: str) -> SystemExit:
    """To be raised: one line on standard error and exit status 1."""
    return SystemExit(f"error: {message}")


def tool(name: str, folder: str) -> str:
    """The path of cmake or ninja: its Python package's, as in setup.py, else the one on PATH."""
    try:
        return str(Path(getattr(__import__(name), folder)) / name)
    except (ImportError, AttributeError):
        found = shutil.which(name)
        if found is None:
            raise fail(f"{name} is missing: pip install {name}") from None
        return found


def configure(build: Path, **settings: str) -> None:
    """Runs CMake for this Python. What it prints is shown if it fails."""
    try:
        import pybind11
    except ImportError:
        raise fail("pybind11 is missing: pip install -e '.[dev]'") from None
    settings = {
        "CMAKE_MAKE_PROGRAM": tool("ninja", "BIN_DIR"),
        "Python_EXECUTABLE": sys.executable,
        "pybind11_DIR": pybind11.get_cmake_dir(),
        "DIMVIDA_WERROR": "ON",
        **settings,
    }
    command = [tool("cmake", "CMAKE_BIN_DIR"), "-S", str(ROOT), "-B", str(build), "-G", "Ninja"]
    command += [f"-D{name}={value}" for name, value in settings.items()]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        # A cache with half a configuration in it would outlive the cause.
        (build / "CMakeCache.txt").unlink(missing_ok=True)
        raise fail(f"CMake could not configure {build.relative_to(ROOT)}:\n{done.stdout}")


def compile_targets(build: Path, *targets: str, jobs: int | None = None) -> str:
    """Builds targets and returns what the compilers printed; fails with it if one fails."""
    command = [tool("cmake", "CMAKE_BIN_DIR"), "--build", str(build), "--target", *targets]
    command += ["--parallel", str(jobs)] if jobs else []
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise fail(f"the build in {build.relative_to(ROOT)} failed:\n{done.stdout}")
    return done.stdout


def compiler() -> str:
    """The C++ compiler that CMake takes."""
    return os.environ.get("CXX") or "c++"
