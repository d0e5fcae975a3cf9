"""Samples of a GPU's use. The program that gives them is stood in for by one that prints what it would."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from dimvida.bench import utilisation
from dimvida.bench.utilisation import Utilisation, parse, run_nvidia_smi, sampled

PATIENCE = 300  # seconds after which it hangs


def test_lines_of_nvidia_smi():
    text = "97, 31, 12034, 512.31, 1980\n 3, [N/A], 12034, [N/A], 345\nunexpected\n88, 3"
    assert parse(text) == {
        "gpu_percent": [97, 3],
        "memory_percent": [31],
        "memory_mib": [12034, 12034],
        "power_w": [512.31],
        "clock_mhz": [1980, 345],
    }
    found = Utilisation(parse(text)).to_dict()
    assert found["samples"] == 2
    assert found["gpu_percent"] == {"mean": 50, "median": 50, "largest": 97}
    assert Utilisation(parse("[N/A], [N/A], [N/A], [N/A], [N/A]")).to_dict() is None


def test_a_cpu_has_none():
    with sampled(torch.device("cpu")) as found:
        pass
    assert found.to_dict() is None


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def program(tmp_path: Path, monkeypatch):
    """Puts a program of that name on PATH."""

    def write(script: str) -> None:
        path = tmp_path / "nvidia-smi"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(utilisation, "INTERVAL", 10)
    return write


def test_samples_are_taken_as_long_as_the_block_runs(program):
    program('[ "$1" = --id=GPU-7 ] && echo "50, 1, 2, 3, 4"')
    found = Utilisation()
    with run_nvidia_smi("GPU-7", found):
        wait_for(lambda: len(found.samples.get("gpu_percent", ())) >= 3)
    assert set(found.samples["gpu_percent"]) == {50}
    assert not [thread for thread in threading.enumerate() if thread.name == "dimvida-nvidia-smi"]


@pytest.mark.parametrize("script", ["exit 9", "echo nothing of use"])
def test_a_program_that_gives_nothing_does_no_harm(program, tmp_path: Path, script: str):
    program(f"echo >> {tmp_path / 'asked'}; {script}")
    found = Utilisation()
    with run_nvidia_smi("GPU-7", found):
        wait_for(lambda: (tmp_path / "asked").exists() and (tmp_path / "asked").stat().st_size >= 2)
    assert found.to_dict() is None


def test_no_such_program(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    found = Utilisation()
    with run_nvidia_smi("GPU-7", found):
        pass
    assert found.to_dict() is None
