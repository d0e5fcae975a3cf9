"""The scripts' decisions: what is refused, what is installed, and when nothing needs to be."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
SCRIPTS = ["scripts/demo", "scripts/test", "scripts/environment.sh", ".ci/run"]
INPUTS = ["setup.py", "CMakeLists.txt", "pyproject.toml", "dimvida/_version.py"]

# Stands for the environment's python: it keeps a record of what pip is asked, and installs nothing.
RECORDER = """#!/bin/sh
case "$*" in
    *"-m pip"*) echo "$*" >> "$RECORD"; touch dimvida/ops/_native.so ;;
    *version_info*) echo 3.11.0 ;;
esac
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of what the scripts look at, with an environment that only records."""
    root = tmp_path / "checkout"
    for name in ("scripts", "cmake", "csrc"):
        shutil.copytree(ROOT / name, root / name)
    (root / "dimvida" / "ops").mkdir(parents=True)
    for name in INPUTS:
        shutil.copy(ROOT / name, root / name)
    python = root / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(RECORDER)
    python.chmod(0o755)
    return root


@pytest.fixture
def prepare(checkout: Path, tmp_path: Path) -> Callable[..., tuple[str, list[str]]]:
    """Prepares the environment; returns what was said and the pip commands."""

    def call(extras: str = "", **environment: str) -> tuple[str, list[str]]:
        record = tmp_path / "record"
        record.write_text("")
        done = subprocess.run(
            ["bash", "-euc", f"source {checkout}/scripts/environment.sh; prepare_environment {extras}"],
            env={**os.environ, "RECORD": str(record), **environment},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout, record.read_text().splitlines()

    return call


@pytest.mark.parametrize("name", SCRIPTS)
def test_bash_accepts_them(name: str):
    assert subprocess.run(["bash", "-n", ROOT / name], capture_output=True).returncode == 0
    assert name.endswith(".sh") or os.access(ROOT / name, os.X_OK)


def test_everything_is_installed_once(prepare):
    said, commands = prepare("dev")
    assert "installing dimvida and what it needs, with [dev]" in said
    assert len(commands) == 2
    assert all("--constraint scripts/constraints.txt" in command for command in commands)
    assert commands[1].endswith("--no-build-isolation --editable .[dev]")
    assert prepare("dev") == ("==> .venv is up to date\n", [])
    # What has the test tools has what the demo needs; the other way round it does not.
    assert prepare("") == ("==> .venv is up to date\n", [])


def test_the_tests_add_to_what_the_demo_installed(prepare):
    assert prepare("")[1][1].endswith("--editable .")
    assert prepare("dev")[1][1].endswith("--editable .[dev]")


@pytest.mark.parametrize("name", ["csrc/new.h", "cmake/options.cmake", "setup.py", "CMakeLists.txt"])
def test_native_sources_are_built_again_without_a_network(prepare, checkout: Path, name: str):
    prepare("dev")
    with open(checkout / name, "a") as file:
        file.write("\n")
    said, commands = prepare("dev")
    assert "building the native module again" in said
    assert len(commands) == 1 and "--no-index --no-deps" in commands[0]
    assert prepare("dev")[1] == []


def test_a_missing_native_module_and_another_choice_of_cuda_are_noticed(prepare, checkout: Path):
    prepare("dev")
    (checkout / "dimvida" / "ops" / "_native.so").unlink()
    assert "--no-index" in prepare("dev")[1][0]
    assert "--no-index" in prepare("dev", DIMVIDA_CUDA="off")[1][0]


@pytest.mark.parametrize("name", ["pyproject.toml", "scripts/constraints.txt"])
def test_other_requirements_are_installed(prepare, checkout: Path, name: str):
    prepare("dev")
    with open(checkout / name, "a") as file:
        file.write("# changed\n")
    assert len(prepare("dev")[1]) == 2


def test_a_failed_installation_is_not_taken_for_done(prepare, checkout: Path, tmp_path: Path):
    python = checkout / ".venv" / "bin" / "python"
    python.write_text(RECORDER.replace("touch dimvida/ops/_native.so", "exit 1"))
    command = f"source {checkout}/scripts/environment.sh; prepare_environment dev"
    environment = {**os.environ, "RECORD": str(tmp_path / "record")}
    assert subprocess.run(["bash", "-euc", command], env=environment, capture_output=True).returncode == 1
    python.write_text(RECORDER)
    assert len(prepare("dev")[1]) == 2


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import sys; sys.version_info = (3, 8, 2)", "python3 is 3.8, but 3.10 or newer is needed"),
        ("import sys; sys.modules['ensurepip'] = None", "apt install python3-venv"),
    ],
)
def test_an_unfit_python_is_named(checkout: Path, tmp_path: Path, code: str, message: str):
    """python3 is the real one, made to look older or incomplete when it starts."""
    shutil.rmtree(checkout / ".venv")
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(code)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    done = subprocess.run([checkout / "scripts" / "demo"], env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("error: ") and message in done.stderr
    assert not (checkout / ".venv").exists()


def test_a_missing_compiler_is_named(checkout: Path):
    environment = {**os.environ, "CXX": "no-such-compiler"}
    done = subprocess.run([checkout / "scripts" / "test"], env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == "error: there is no C++ compiler (no-such-compiler): apt install g++\n"


def test_constraints_pin_everything_once_per_python():
    pins = {}
    for line in (ROOT / "scripts" / "constraints.txt").read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        match = re.fullmatch(r'([\w.-]+)==[\w.]+(?:; python_version (<|>=) "3\.11")?', line)
        assert match, line
        pins.setdefault(match[1].lower(), []).append(match[2])
    for name, markers in pins.items():
        assert markers in ([None], ["<"], ["<", ">="]), name
    content = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = content["project"]["optional-dependencies"]
    declared = [*content["project"]["dependencies"], *extras["dev"], *extras["test"], *extras["render"]]
    declared += content["build-system"]["requires"]
    names = {re.match(r"[\w-]+", requirement)[0] for requirement in declared} - {"dimvida"}
    assert {"torch", "torchvision", "pytest", "ruff", "trimesh", "pybind11"} <= names
    assert names <= pins.keys()
