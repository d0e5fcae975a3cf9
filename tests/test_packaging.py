"""Building: a wheel that installs and imports elsewhere, and what DIMVIDA_CUDA does."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

from dimvida import __version__

ROOT = Path(__file__).parents[1]
SOURCES = ["csrc", "cmake", "dimvida", "CMakeLists.txt", "setup.py", "pyproject.toml", "LICENSE", "MANIFEST.in"]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the sources, because building writes beside them."""
    folder = tmp_path_factory.mktemp("checkout")
    ignore = shutil.ignore_patterns("__pycache__", "*.so", "*.egg-info")
    for name in [*SOURCES, "README.md"]:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=ignore)
        elif source.exists():
            shutil.copy(source, folder / name)
    return folder


def run_pip(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )


def build_wheel(checkout: Path, target: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(target)]
    return run_pip("wheel", ".", *options, cwd=checkout, **environment)


@pytest.fixture(scope="module")
def wheel(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("wheel")
    result = build_wheel(checkout, target, DIMVIDA_CUDA="off")
    assert result.returncode == 0, result.stdout + result.stderr
    (path,) = target.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def clean_python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with the wheel; torch and the rest are seen through a path file, to stay offline."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)}))
    install = subprocess.run(
        [python, "-m", "pip", "install", "--no-deps", "--no-index", str(wheel)], capture_output=True, text=True
    )
    assert install.returncode == 0, install.stdout + install.stderr
    # A plain line, not a nested site directory: the outer environment's own path files, an editable install of this
    # package among them, are then not followed.
    (packages / "outer.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


def test_the_wheel_holds_the_package_and_its_licence(wheel):
    assert wheel.name.startswith(f"dimvida-{__version__}-cp{sys.version_info.major}{sys.version_info.minor}-")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (metadata_name,) = [n for n in names if n.endswith(".dist-info/METADATA")]
        metadata = Parser().parsestr(archive.read(metadata_name).decode())
        (licence,) = [n for n in names if n.endswith("licenses/LICENSE")]
        assert b"Apache License" in archive.read(licence)
    assert metadata["Name"] == "dimvida" and metadata["Version"] == __version__
    assert metadata["License-Expression"] == "Apache-2.0"
    assert "torch>=2.11" in metadata.get_all("Requires-Dist")
    (native,) = [n for n in names if n.endswith(".so")]
    assert native.startswith("dimvida/ops/_native.")
    shipped = {str(p.relative_to(ROOT)) for p in (ROOT / "dimvida").rglob("*.py")}
    assets = ROOT / "dimvida" / "assets"
    shipped |= {str(p.relative_to(ROOT)) for p in assets.rglob("*") if p.is_file() and p.suffix not in {".py", ".pyc"}}
    shipped |= {str(p.relative_to(ROOT)) for p in (ROOT / "dimvida" / "training" / "presets").glob("*.toml")}
    shipped |= {f"dimvida/report/{name}" for name in ("page.html", "style.css")}
    assert shipped <= set(names)
    assert not [n for n in names if n.startswith(("tests", "csrc"))]


def test_the_wheel_imports_in_a_clean_environment(clean_python):
    code = (
        "import dimvida, json, torch\n"
        "from dimvida import ops\n"
        "z = torch.empty(2, 3); ops.philox_normal_(z, torch.tensor([1, 2]), torch.tensor([3]), 0)\n"
        "print(json.dumps([dimvida.__file__, ops.build_info(), ops.native_available(), z.isfinite().all().item()]))"
    )
    result = subprocess.run([clean_python, "-I", "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    file, info, available, finite = json.loads(result.stdout)
    assert Path(file).is_relative_to(clean_python.parents[1])
    assert info["version"] == __version__
    assert info["cuda"] is False and info["cuda_archs"] == []
    assert available and finite


def test_doctor_of_a_cpu_build_says_how_to_get_cuda(clean_python):
    command = clean_python.with_name("dimvida")
    result = subprocess.run([command, "doctor"], capture_output=True, text=True, cwd=clean_python.parent)
    assert result.returncode == 0, result.stderr
    assert "not built" in result.stdout
    assert "DIMVIDA_CUDA=on pip install --force-reinstall" in " ".join(result.stdout.split())


def path_without_nvcc(tmp_path: Path) -> str:
    """The tools a build needs, in a folder of links, and nothing else."""
    for tool in ("sh", "c++", "g++", "gcc", "cc", "as", "ld", "ar", "ranlib", "uname", "strip", "make"):
        found = shutil.which(tool)
        if found:
            (tmp_path / tool).symlink_to(found)
    return str(tmp_path)


def test_cuda_on_without_nvcc_fails_with_one_clear_line(checkout, tmp_path):
    folder = tmp_path / "bin"
    folder.mkdir()
    environment = {"DIMVIDA_CUDA": "on", "PATH": path_without_nvcc(folder), "CUDACXX": ""}
    result = build_wheel(checkout, tmp_path / "wheel", **environment)
    assert result.returncode != 0
    lines = [line.strip() for line in (result.stdout + result.stderr).splitlines()]
    clear = [line for line in lines if line.startswith("dimvida: ")]
    assert len(clear) == 1
    assert "DIMVIDA_CUDA=on, but nvcc was not found" in clear[0] and "DIMVIDA_CUDA=off" in clear[0]
    assert not any("Traceback" in line for line in lines)


def test_a_value_of_dimvida_cuda_that_means_nothing_is_refused(checkout, tmp_path):
    result = build_wheel(checkout, tmp_path / "wheel", DIMVIDA_CUDA="yes")
    assert result.returncode != 0
    assert "dimvida: DIMVIDA_CUDA is 'yes'; it must be auto, on or off." in result.stdout + result.stderr


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="needs nvcc on PATH")
def test_cuda_sources_compile_for_a_chosen_architecture(checkout, tmp_path):
    result = build_wheel(checkout, tmp_path / "wheel", DIMVIDA_CUDA="on", DIMVIDA_CUDA_ARCHS="90-real")
    assert result.returncode == 0, result.stdout + result.stderr
    (path,) = (tmp_path / "wheel").glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        (native,) = [n for n in archive.namelist() if n.endswith(".so")]
        archive.extract(native, tmp_path)
    code = f"""
import importlib.util, json
spec = importlib.util.spec_from_file_location("_native", {str(tmp_path / native)!r})
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
print(json.dumps(module.build_info()))
"""
    # No GPU and no CUDA library is needed to import it: the runtime is linked statically.
    result = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    info = json.loads(result.stdout)
    assert info["cuda"] is True and info["cuda_archs"] == ["90-real"]
