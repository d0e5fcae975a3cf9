"""``scripts/gpu_check``: its plan, its summary, and on the CPU the whole of it."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
from gpu_scripts import load_script, run_script

gpu_check = load_script("gpu_check")
GPU = {"name": "GPU X", "capability": "9.0", "count": 1, "memory_gib": 80.0}


@pytest.fixture
def session(tmp_path: Path):
    """A session that has not run anything."""
    Session = sys.modules["gpu_session"].Session
    return Session("gpu_check", tmp_path / "work", tmp_path / "out", GPU, "python", dict(os.environ), 0.0, 1.0)


def test_the_plan_covers_everything_within_nine_minutes_and_eight_files(session):
    stages = gpu_check.plan(session, "64")
    assert [stage.name for stage in stages] == [
        "build", "import", "doctor", "first use", "GPU tests", "memcheck", "racecheck", "initcheck", "synccheck",
        "benchmark",
    ]  # fmt: skip
    written = {stage.log for stage in stages} | {"tests.xml", "sampling.json", "gpu_check.json", "summary.md"}
    assert len(written | {"first-use.png"}) <= 8
    # Even if the build takes all its time, each of the others gets what it needs.
    assert sum(stage.reserve for stage in stages) + stages[0].limit <= 8.5 * 60
    for stage in stages[5:9]:
        assert stage.command[stage.command.index("--tool") + 1] == stage.name
        assert "kns=dimvida" in stage.command and "--error-exitcode" in stage.command
        assert stage.environment == {"PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}


def test_the_tests_do_not_meet_the_checkouts_package(tmp_path: Path):
    gpu_check.copy_tests(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pyproject.toml", "tests"]


def test_counts_of_tests(tmp_path: Path):
    junit = tmp_path / "tests.xml"
    assert gpu_check.test_counts(junit) is None and gpu_check.nothing_was_tested(None)
    junit.write_text('<testsuites><testsuite tests="9" failures="1" errors="2" skipped="3"/></testsuites>')
    counts = gpu_check.test_counts(junit)
    assert counts == {"tests": 9, "failures": 1, "errors": 2, "skipped": 3}
    assert not gpu_check.nothing_was_tested(counts)
    assert gpu_check.nothing_was_tested({"tests": 4, "failures": 0, "errors": 0, "skipped": 4})
    junit.write_text("<testsuites><testsuite")  # cut off
    assert gpu_check.test_counts(junit) is None


def test_the_summary(session, dimvida_sampling_result: dict):
    session.stages = gpu_check.plan(session, "64")[:1]
    session.stages[0].outcome, session.stages[0].rc = "failed", 4
    facts = {**session.facts(), "missing": ["hypothesis (to test)"], "tests": None}
    facts |= {"commit": "abc", "versions": {"torch": "2.11", "triton": None}}
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


@pytest.mark.slow
def test_a_rehearsal_installs_uses_and_tests_the_package(tmp_path: Path):
    done = run_script("gpu_check", "--rehearse", "--out", tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr + (tmp_path / "build.log").read_text()[-2000:]
    facts = json.loads((tmp_path / "gpu_check.json").read_text())
    assert {stage["name"]: stage["outcome"] for stage in facts["stages"]} == dict.fromkeys(
        ["build", "import", "doctor", "first use", "GPU tests", "benchmark"], "passed"
    )
    assert facts["rehearsal"] and facts["gpu"] is None and facts["tests"]["tests"] > facts["tests"]["skipped"]
    log = (tmp_path / "build.log").read_text()
    assert "Successfully installed dimvida" in log
    assert "/venv/lib/" in log  # what is imported is what was installed
    assert (tmp_path / "summary.md").read_text().startswith("# Rehearsal on a CPU")
    assert (tmp_path / "first-use.png").stat().st_size > 1000
