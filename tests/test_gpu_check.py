"""``scripts/gpu_check``: what it does with stages that fail, hang or cannot run. It needs no GPU for that."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest
import torch

SCRIPT = Path(__file__).parents[1] / "scripts" / "gpu_check"


@pytest.fixture(scope="module")
def gpu_check() -> ModuleType:
    """The script as a module."""
    loader = importlib.machinery.SourceFileLoader("gpu_check", str(SCRIPT))
    spec = importlib.util.spec_from_loader("gpu_check", loader)
    module = importlib.util.module_from_spec(spec)
    sys.modules["gpu_check"] = module  # dataclasses look it up
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    loader.exec_module(module)
    sys.dont_write_bytecode = before
    return module


@pytest.fixture
def run(gpu_check: ModuleType, tmp_path: Path):
    """Runs stages given as (name, Python code or command, further fields)."""

    def call(*stages: tuple, seconds: float = 60.0):
        made = []
        for name, command, fields in stages:
            command = [sys.executable, "-c", command] if isinstance(command, str) else command
            made.append(gpu_check.Stage(name, command, **{"limit": 30, "log": "log", **fields}))
        gpu_check.run_stages(made, tmp_path, tmp_path, dict(os.environ), time.monotonic() + seconds)
        return made

    return call


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so(tmp_path: Path):
    done = subprocess.run([sys.executable, SCRIPT, "--out", tmp_path / "out"], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and "needs a machine with an NVIDIA GPU" in done.stderr
    assert not (tmp_path / "out").exists()


def test_it_can_be_run_and_explains_itself():
    assert os.access(SCRIPT, os.X_OK)
    done = subprocess.run([sys.executable, SCRIPT, "--help"], capture_output=True, text=True)
    assert done.returncode == 0 and "--minutes" in done.stdout
    assert subprocess.run([sys.executable, SCRIPT, "--nope"], capture_output=True).returncode == 2


def test_a_failing_stage_stops_no_other(run, tmp_path: Path):
    stages = run(
        ("one", "print('first'); raise SystemExit(3)", {}),
        ("two", "print('second')", {}),
        ("three", ["/nonexistent/program"], {}),
        ("four", "import os; os.kill(os.getpid(), 11)", {}),
        ("five", "print('last')", {"log": "other"}),
    )
    assert [(stage.outcome, stage.rc) for stage in stages] == [
        ("failed", 3), ("passed", 0), ("failed", None), ("failed", -11), ("passed", 0),
    ]  # fmt: skip
    log = (tmp_path / "log").read_text()
    assert log.index("==> one") < log.index("first") < log.index("==> two") < log.index("second")
    assert (tmp_path / "other").read_text() == "==> five\nlast\n"


def test_a_hanging_stage_is_interrupted_and_keeps_what_it_had(run, tmp_path: Path):
    code = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "print(child.pid, flush=True)\n"
        "try: time.sleep(600)\n"
        "except KeyboardInterrupt: print('interrupted', flush=True); sys.exit(0)\n"
    )
    (stage,) = run(("hangs", code, {"limit": 3}))
    assert stage.outcome == "stopped at its limit"
    lines = (tmp_path / "log").read_text().splitlines()
    assert "interrupted" in lines
    child = int(lines[1])
    assert not Path(f"/proc/{child}").exists() or "Z" in Path(f"/proc/{child}/stat").read_text().split()[2]


def test_a_stage_that_ignores_interruption_is_ended(run, gpu_check: ModuleType, monkeypatch):
    monkeypatch.setattr(gpu_check, "GRACE", 1.0)
    code = "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); time.sleep(600)"
    stubborn, after = run(("stubborn", code, {"limit": 2}), ("after", "", {}))
    assert (stubborn.outcome, stubborn.rc) == ("stopped at its limit", -9)
    assert after.outcome == "passed"


def test_time_is_kept_for_later_stages(run):
    first, second, third = run(
        ("first", "", {"limit": 100}), ("second", "", {"reserve": 50}), ("third", "", {"reserve": 200}), seconds=60
    )
    assert first.outcome == second.outcome == "not run: no time left"
    assert third.outcome == "passed" and third.limit == 30


def test_what_a_stage_needs_is_named(run):
    (stage,) = run(("sanitizer", "", {"needs": ["no-such-program"]}))
    assert stage.outcome == "not run: no-such-program missing"


def test_the_plan_covers_everything_within_eight_minutes_and_eight_files(gpu_check: ModuleType, tmp_path: Path):
    stages = gpu_check.plan(tmp_path / "work", tmp_path / "out", "64")
    assert [stage.name for stage in stages] == [
        "build", "import", "GPU tests", "memcheck", "racecheck", "initcheck", "benchmark",
    ]  # fmt: skip
    logs = {stage.log for stage in stages}
    assert len(logs | {"tests.xml", "sampling.json", "gpu_check.json", "summary.md"}) <= 8
    # Even if the build takes all its time, each of the others gets what it needs.
    assert sum(stage.reserve for stage in stages) + stages[0].limit <= 7.5 * 60
    for stage in stages[3:6]:
        assert stage.command[stage.command.index("--tool") + 1] == stage.name
        assert "kns=dimvida" in stage.command and "--error-exitcode" in stage.command


def test_the_tests_do_not_meet_the_checkouts_package(gpu_check: ModuleType, tmp_path: Path):
    environment = gpu_check.prepare(tmp_path, {"capability": "9.0"})
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["pyproject.toml", "tests"]
    assert environment["PYTHONPATH"].split(os.pathsep)[0] == str(tmp_path / "site")
    assert environment["DIMVIDA_CUDA_ARCHS"] == os.environ.get("DIMVIDA_CUDA_ARCHS", "90-real")


def test_counts_of_tests(gpu_check: ModuleType, tmp_path: Path):
    junit = tmp_path / "tests.xml"
    assert gpu_check.test_counts(junit) is None and gpu_check.nothing_was_tested(None)
    junit.write_text('<testsuites><testsuite tests="9" failures="1" errors="2" skipped="3"/></testsuites>')
    counts = gpu_check.test_counts(junit)
    assert counts == {"tests": 9, "failures": 1, "errors": 2, "skipped": 3}
    assert not gpu_check.nothing_was_tested(counts)
    assert gpu_check.nothing_was_tested({"tests": 4, "failures": 0, "errors": 0, "skipped": 4})
    junit.write_text("<testsuites><testsuite")  # cut off
    assert gpu_check.test_counts(junit) is None


def test_the_summary(gpu_check: ModuleType, run, dimvida_sampling_result: dict):
    (stage,) = run(("build", "raise SystemExit(4)", {}))
    facts = {
        "gpu": {"name": "GPU X", "capability": "9.0", "count": 1, "memory_gib": 80.0},
        "commit": "abc",
        "versions": {"torch": "2.11", "triton": None},
        "missing": ["hypothesis (to test)"],
        "minutes": 3.2,
        "tests": None,
        "stages": [vars(stage)],
    }
    text = gpu_check.summarise(facts, dimvida_sampling_result)
    assert "GPU X" in text and "commit abc" in text and "hypothesis (to test)" in text
    assert "| build | failed | 4 |" in text
    assert "Tests: no result." in text
    assert "triton" not in text
    batch = dimvida_sampling_result["results"][0]
    assert f"## Batch {batch['batch']}" in text
    for arm in batch["arms"]:
        assert f"| {arm['name']} | {arm['ms_per_step']['median']:.4g} |" in text
    assert "rms from eager" in text
    assert "## Batch" not in gpu_check.summarise(facts, None)


@pytest.fixture
def dimvida_sampling_result(tmp_path: Path, one_thread: None) -> dict:
    """The file of a real benchmark."""
    from dimvida.cli.app import run

    file = tmp_path / "sampling.json"
    options = ["--preset", "tiny", "--device", "cpu", "--steps", "1", "--repeats", "1", "--batch", "2", "--profile"]
    assert run(["bench", "sampling", *options, "--arms", "eager-fp32,fused-fp32", "--json", str(file)]) == 0
    return json.loads(file.read_text())
