"""Builds the native module with CMake and ninja. Everything else about the package is in pyproject.toml."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent


def tool(name: str) -> str:
    """The path of cmake or ninja: its Python package's, which the build requires, else the one on PATH."""
    try:
        folder = {"cmake": "CMAKE_BIN_DIR", "ninja": "BIN_DIR"}[name]
        return str(Path(getattr(__import__(name), folder)) / name)
    except (ImportError, AttributeError):
        found = shutil.which(name)
        if found is None:
            raise SystemExit(f"dimvida: {name} is needed to build the native module: pip install {name}") from None
        return found


def reason(stderr: str) -> str:
    """CMake's error message as one line: the first indented paragraph after 'CMake Error'."""
    found = re.search(r"CMake Error[^\n]*\n((?:[ \t]+\S[^\n]*\n?)+)", stderr)
    return " ".join(found.group(1).split()) if found else "CMake could not configure the build"


class CMakeBuild(build_ext):
    def build_extension(self, ext: Extension) -> None:
        target = Path(self.get_ext_fullpath(ext.name)).resolve()
        build = Path(self.build_temp).resolve() / ext.name
        build.mkdir(parents=True, exist_ok=True)
        self.configure(build, target.parent)
        # Ninja counts the processors itself.
        jobs = ["--parallel", str(self.parallel)] if self.parallel else []
        command = [tool("cmake"), "--build", str(build), *jobs]
        if subprocess.run(command).returncode:
            raise SystemExit("dimvida: the native module did not compile; the compiler's message is above")
        if not target.exists():
            raise SystemExit(f"dimvida: the build did not make {target.name}")

    def configure(self, build: Path, folder: Path) -> None:
        import pybind11

        settings = {
            "CMAKE_MAKE_PROGRAM": tool("ninja"),
            "CMAKE_BUILD_TYPE": "Debug" if self.debug else "Release",
            "CMAKE_LIBRARY_OUTPUT_DIRECTORY": folder,
            "Python_EXECUTABLE": sys.executable,
            "pybind11_DIR": pybind11.get_cmake_dir(),
            "DIMVIDA_VERSION": self.distribution.get_version(),
            "DIMVIDA_CUDA": os.environ.get("DIMVIDA_CUDA") or "auto",
            "DIMVIDA_CUDA_ARCHS": os.environ.get("DIMVIDA_CUDA_ARCHS", ""),
        }
        command = [tool("cmake"), "-S", str(ROOT), "-B", str(build), "-G", "Ninja"]
        result = subprocess.run(
            command + [f"-D{name}={value}" for name, value in settings.items()], stderr=subprocess.PIPE, text=True
        )
        sys.stderr.write(result.stderr)
        if result.returncode:
            # A cache with half a configuration in it would outlive the cause.
            (build / "CMakeCache.txt").unlink(missing_ok=True)
            raise SystemExit(f"dimvida: {reason(result.stderr)}")


setup(ext_modules=[Extension("dimvida.ops._native", sources=[])], cmdclass={"build_ext": CMakeBuild})
