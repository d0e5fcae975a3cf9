"""``dimvida doctor``: what it reports, on the terminal and as JSON."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from helpers.commands import Result
from typer.testing import CliRunner

from dimvida import __version__, ops
from dimvida.cli import doctor
from dimvida.cli.app import app
from dimvida.sampling.backends import default_dtype

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@pytest.fixture(scope="module")
def facts():
    return doctor.examine()


def test_table_fits_eighty_columns_and_names_what_matters():
    result = CliRunner().invoke(app, ["doctor"], env={"OMP_NUM_THREADS": "3"})
    assert result.exit_code == 0
    assert max(len(line) for line in result.output.splitlines()) <= 80
    for text in (__version__, torch.__version__.split("+")[0], "avx2" if ops.build_info()["simd"] == "avx2" else "CPU"):
        assert text in result.output
    for name in doctor.VARIABLES:
        assert name in result.output
    assert "'3'" in result.output
    assert "products exact, convolutions rounded to TF32" in result.output


@pytest.fixture
def doctor_in(monkeypatch: pytest.MonkeyPatch, dimvida: Callable[..., Result]) -> Callable[..., tuple[dict, str]]:
    """Its facts and its table with these variables alone."""

    def look(**environment: str) -> tuple[dict, str]:
        for name in doctor.VARIABLES:
            monkeypatch.delenv(name, raising=False)  # of a suite whose defaults are forced
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        return json.loads(dimvida("doctor", "--json").out), dimvida("doctor").out

    return look


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_what_auto_means_is_said_with_its_reason(doctor_in, dtype: str):
    facts, table = doctor_in(DIMVIDA_DTYPE=dtype)
    assert facts["defaults"]["dtype"] == dtype
    assert f"{dtype}: DIMVIDA_DTYPE says so" in table


def test_the_kernels_of_the_environment_are_said_in_any_encoding():
    environment = {"DIMVIDA_SIMD": "baseline", "PYTHONIOENCODING": "ascii", "LC_ALL": "C"}
    command = [sys.executable, "-m", "dimvida", "doctor"]
    facts, table = (
        subprocess.run([*command, *more], capture_output=True, check=True, env={**os.environ, **environment}).stdout
        for more in (["--json"], [])
    )
    assert json.loads(facts)["native"]["simd"] == "baseline"
    assert "baseline (in use: DIMVIDA_SIMD)" in table.decode("ascii")


def test_what_auto_means_follows_the_machine(doctor_in):
    facts, table = doctor_in()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    assert facts["defaults"]["device"] == device.type
    chosen = str(default_dtype(device)).removeprefix("torch.")
    assert facts["defaults"]["dtype"] == chosen
    assert f"{chosen}: the {'GPU' if device.type == 'cuda' else 'CPU'}" in table
    assert "in use: the best here" in table


@pytest.mark.parametrize(
    "bf16, amx, dtype, reason",
    [
        (True, False, "bfloat16", "the CPU has avx512_bf16"),
        (True, True, "bfloat16", "the CPU has avx512_bf16 and amx"),
        (False, False, "float32", "the CPU has neither avx512_bf16 nor amx"),
    ],
)
def test_the_reason_of_a_cpu(monkeypatch: pytest.MonkeyPatch, bf16: bool, amx: bool, dtype: str, reason: str):
    monkeypatch.delenv("DIMVIDA_DTYPE", raising=False)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.cpu._is_avx512_bf16_supported", lambda: bf16)
    monkeypatch.setattr("torch.cpu._is_amx_tile_supported", lambda: amx)
    assert doctor._default_facts(torch) == {"device": "cpu", "dtype": dtype, "reason": reason}


def test_a_wrong_dtype_in_the_environment_is_advised_on(doctor_in):
    facts, table = doctor_in(DIMVIDA_DTYPE="int7")
    assert facts["defaults"]["dtype"] is None
    assert any("DIMVIDA_DTYPE=int7: choose from" in advice for advice in facts["advice"])
    assert "DIMVIDA_DTYPE=int7" in table


def test_json_of_the_installed_command():
    result = subprocess.run(
        [sys.executable, "-m", "dimvida", "doctor", "--json"], capture_output=True, text=True, check=True
    )
    facts = json.loads(result.stdout)
    assert facts["dimvida"] == __version__
    assert facts["native"]["available"]
    assert facts["native"]["cuda"] == ops.build_info()["cuda"]
    assert facts["extras"]["render"] == []
    assert facts["torch"]["error"] is None
    assert facts["float32_on_gpus"] == {"products": "ieee", "convolutions": "tf32"}


def test_all_extras_are_looked_for():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    extras = {name: needs for name, needs in project["optional-dependencies"].items() if name not in ("test", "dev")}
    assert {name: [need.replace("-", "_") for need in needs] for name, needs in extras.items()} == {
        name: list(modules) for name, modules in doctor.EXTRAS.items()
    }


def test_a_build_without_cuda_says_how_to_change_it(facts):
    native = {**facts["native"], "cuda": False, "cuda_archs": [], "cuda_version": None}
    (advice,) = doctor._advice({**facts, "native": native})
    assert "nvcc" in advice
    assert "DIMVIDA_CUDA=on pip install --force-reinstall" in advice


def test_a_missing_native_module_gives_its_reason(facts):
    (advice,) = doctor._advice({**facts, "native": {"available": False, "error": "no such file"}})
    assert "no such file" in advice and "pip install" in advice


def test_cpu_kernels_that_are_not_there_are_named(facts):
    (advice,) = doctor._advice({**facts, "native": {**facts["native"], "simd": "mmx"}})
    assert "DIMVIDA_SIMD=mmx" in advice and "baseline" in advice


def test_a_gpu_without_code_for_it_gets_the_option_to_set(facts):
    native = {**facts["native"], "cuda": True, "cuda_archs": ["80-real"]}
    gpu = {"name": "H200", "capability": "9.0", "memory_gib": 139.0}
    (advice,) = doctor._advice({**facts, "native": native, "gpus": [gpu]})
    assert "H200" in advice and "DIMVIDA_CUDA_ARCHS=90" in advice


@pytest.mark.parametrize(
    "archs, capability, fits",
    [
        (["80-real"], "8.0", True),
        (["80-real"], "8.9", True),
        (["86-real"], "8.0", False),
        (["80-real"], "9.0", False),
        (["80"], "9.0", True),
        (["80-virtual"], "12.0", True),
        (["100-real", "120"], "9.0", False),
        (["90a-real"], "9.0", True),
        (["90a"], "10.0", False),
        ([], "9.0", False),
    ],
)
def test_architectures(archs, capability, fits):
    assert doctor.is_compiled_for(archs, capability) is fits
