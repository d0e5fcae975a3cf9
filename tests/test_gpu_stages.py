"""What the scripts gpu_* do with stages that fail, hang or cannot run, and what they say of a machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from gpu_scripts import SCRIPTS, load_script, run_script

gpu_stages, gpu_session = load_script("gpu_stages"), load_script("gpu_session")
NAMES = ["gpu_check", "gpu_generate", "gpu_measure", "gpu_train"]


@pytest.fixture
def run(tmp_path: Path):
    """Runs stages given as (name, Python code or command, further fields)."""

    def call(*stages: tuple, seconds: float = 60.0, after=lambda stage: None):
        made = []
        for name, command, fields in stages:
            command = [sys.executable, "-c", command] if isinstance(command, str) else command
            made.append(gpu_stages.Stage(name, command, **{"limit": 30, "log": "log", **fields}))
        gpu_stages.run_stages(made, tmp_path, tmp_path, dict(os.environ), time.monotonic() + seconds, after)
        return made

    return call


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("name", NAMES)
def test_without_a_gpu_a_script_says_so(name: str, tmp_path: Path):
    data = ["--data", tmp_path] if name == "gpu_train" else []
    done = run_script(name, "--out", tmp_path / "out", *data)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and f"{name} needs a machine with an NVIDIA GPU" in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", NAMES)
def test_a_script_can_be_run_and_explains_itself(name: str):
    assert os.access(SCRIPTS / name, os.X_OK)
    done = run_script(name, "--help")
    assert done.returncode == 0
    for option in ("--minutes", "--out", "--rehearse"):
        assert option in done.stdout
    for wrong in (["--nope"], ["--rehearse", "--minutes", "0"]):
        done = run_script(name, *wrong)
        assert done.returncode == 2 and "Traceback" not in done.stderr


def test_a_failing_stage_stops_no_other(run, tmp_path: Path):
    ended: list[str] = []
    stages = run(
        ("one", "print('first'); raise SystemExit(3)", {}),
        ("two", "import os; print(os.environ['TWO'])", {"environment": {"TWO": "second"}}),
        ("three", ["/nonexistent/program"], {}),
        ("four", "import os; os.kill(os.getpid(), 11)", {}),
        ("five", "import os; print('last', os.environ.get('TWO'))", {"log": "other"}),
        after=lambda stage: ended.append(f"{stage.name} {stage.outcome}"),
    )
    assert [(stage.outcome, stage.rc) for stage in stages] == [
        ("failed", 3), ("passed", 0), ("failed", None), ("failed", -11), ("passed", 0),
    ]  # fmt: skip
    assert ended == ["one failed", "two passed", "three failed", "four failed", "five passed"]
    log = (tmp_path / "log").read_text()
    assert log.index("==> one") < log.index("first") < log.index("==> two") < log.index("second")
    assert (tmp_path / "other").read_text() == "==> five\nlast None\n"


HANGING = (
    "import subprocess, sys, time\n"
    "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
    "print(child.pid, flush=True)\n"
    "try: time.sleep(600)\n"
    "except KeyboardInterrupt: print('interrupted', flush=True); sys.exit(0)\n"
)


def is_running(pid: int) -> bool:
    """Whether a process, which may just have been killed, goes on."""
    status = Path(f"/proc/{pid}/stat")
    deadline = time.monotonic() + 10
    try:
        while time.monotonic() < deadline and "Z" not in status.read_text().split()[2]:
            time.sleep(0.05)
        return "Z" not in status.read_text().split()[2]
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_hanging_stage_is_interrupted_and_keeps_what_it_had(run, tmp_path: Path):
    (stage,) = run(("hangs", HANGING, {"limit": 3}))
    assert stage.outcome == "stopped at its limit"
    lines = (tmp_path / "log").read_text().splitlines()
    assert "interrupted" in lines
    assert not is_running(int(lines[1]))


def test_a_stage_that_ignores_interruption_is_ended(run, monkeypatch):
    monkeypatch.setattr(gpu_stages, "GRACE", 1.0)
    code = "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); time.sleep(600)"
    stubborn, after = run(("stubborn", code, {"limit": 2}), ("after", "", {}))
    assert (stubborn.outcome, stubborn.rc) == ("stopped at its limit", -9)
    assert after.outcome == "passed"


def test_an_interrupted_script_leaves_no_stage_behind(tmp_path: Path):
    code = (
        f"import os, sys, time; sys.path.insert(0, {str(SCRIPTS)!r}); sys.dont_write_bytecode = True\n"
        "from pathlib import Path\n"
        "from gpu_stages import Stage, run_stages\n"
        f"out, stage = Path({str(tmp_path)!r}), Stage('hangs', [sys.executable, '-c', {HANGING!r}], 600, 'log')\n"
        "run_stages([stage], out, out, dict(os.environ), time.monotonic() + 600)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    log = tmp_path / "log"
    while not (log.exists() and len(log.read_text().splitlines()) == 2):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(2)
    assert process.wait(30) != 0
    child = int(log.read_text().splitlines()[1])
    assert not is_running(child)


def test_time_is_kept_for_later_stages(run):
    first, second, third = run(
        ("first", "", {"limit": 100}), ("second", "", {"reserve": 50}), ("third", "", {"reserve": 200}), seconds=60
    )
    assert first.outcome == second.outcome == "not run: no time left"
    assert third.outcome == "passed" and third.limit == 30


def test_what_a_stage_needs_is_named(run):
    (stage,) = run(("sanitizer", "", {"needs": ["no-such-program"]}))
    assert stage.outcome == "not run: no-such-program missing"


def test_what_is_missing_is_named():
    found = gpu_session.find_missing("no-such-program", test=("pytest", "no_such_module"))
    assert "no_such_module (to test)" in found
    assert any(line.startswith("no-such-program, on PATH") for line in found)


def test_an_installation_sees_the_packages_around_it_but_not_the_checkout(tmp_path: Path):
    (tmp_path / "work").mkdir()
    python = gpu_session.prepare(tmp_path / "work")
    code = "import json, sys, torch; print(json.dumps([sys.prefix, torch.__file__, sys.path]))"
    # Nothing here knows of a dimvida that is installed outside in editable form.
    plain = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [python, "-c", code], cwd=tmp_path / "work" / "run", env=plain, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    prefix, torch_file, path = json.loads(done.stdout)
    assert prefix == str(tmp_path / "work" / "venv") and torch_file == torch.__file__
    assert str(gpu_session.ROOT) not in path
    copied = {item.name for item in (tmp_path / "work" / "checkout").iterdir()}
    assert {"csrc", "dimvida", "setup.py", "pyproject.toml"} <= copied
    assert not list((tmp_path / "work" / "checkout" / "dimvida").rglob("*.so"))


def test_the_environment_of_a_build(tmp_path: Path):
    gpu = {"capability": "9.0"}
    environment = gpu_session.stage_environment(tmp_path, gpu, builds=True)
    assert environment["DIMVIDA_CUDA"] == "on"
    assert environment["DIMVIDA_CUDA_ARCHS"] == os.environ.get("DIMVIDA_CUDA_ARCHS", "90-real")
    assert environment["PATH"].split(os.pathsep)[0] == str(tmp_path / "venv" / "bin")
    rehearsal = gpu_session.stage_environment(tmp_path, None, builds=False)
    assert rehearsal["DIMVIDA_CUDA"] == "off"
    assert rehearsal["PYTHONPATH"].split(os.pathsep)[0] == str(gpu_session.ROOT)


def test_facts_name_no_folder_of_this_machine(tmp_path: Path):
    session = gpu_session.Session(
        "gpu_x", tmp_path / "work", tmp_path / "work" / "out", None, sys.executable, dict(os.environ), 0.0, 0.0
    )
    command = [sys.executable, "-m", "x", f"--json={session.out}/a.json", str(session.work / "b"), f"{SCRIPTS}/c"]
    session.stages.append(gpu_stages.Stage("one", command, 1.0, environment={"SECRET": "x"}))
    facts = gpu_session.Session.facts(session)
    assert facts["stages"][0]["command"] == ["python", "-m", "x", "--json=OUT/a.json", "WORK/b", "CHECKOUT/scripts/c"]
    assert facts["rehearsal"] and "SECRET" not in json.dumps(facts)
    head = "\n".join(gpu_stages.summary_head("Title", facts))
    assert head.startswith("# Rehearsal on a CPU: Title") and "No figure on this page is one of a GPU" in head
    facts["gpu"] = {"name": "GPU X", "capability": "9.0", "count": 1, "memory_gib": 80.0}
    head = "\n".join(gpu_stages.summary_head("Title", facts))
    assert head.startswith("# Title") and "1 x GPU X" in head and "CPU" not in head
