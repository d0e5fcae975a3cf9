"""``scripts/gpu``: stages that do not end by themselves leave nothing behind."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from helpers.commands import PATIENCE, is_alive, wait_until

SCRIPTS = Path(__file__).parents[1] / "scripts"


@pytest.fixture
def stages(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return importlib.import_module("gpu_stages")


HANGING = (
    "import subprocess, sys, time\n"
    "child = subprocess.Popen(['sleep', '600'])\n"  # which says nothing of its own when it is interrupted
    "try: print('child', child.pid, flush=True); time.sleep(600)\n"
    "except KeyboardInterrupt: print('interrupted', flush=True); sys.exit(0)\n"
)


def started(command: list[str], log: Path) -> subprocess.Popen[bytes]:
    """A process in a session of its own that has printed a line ``child``, and a number."""
    with open(log, "w") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, start_new_session=True)
    wait_until(lambda: log.read_text().endswith("\n") or process.poll() is not None)
    assert process.poll() is None, log.read_text()
    return process


def child_of(log: Path) -> int:
    """The process that a log names."""
    return int(log.read_text().split()[1])


def test_a_hanging_stage_is_interrupted_and_leaves_nothing_behind(stages: ModuleType, tmp_path: Path):
    log = tmp_path / "log"
    process = started([sys.executable, "-c", HANGING], log)
    assert stages.wait(process, 0.01)
    assert process.returncode == 0 and "interrupted\n" in log.read_text()
    wait_until(lambda: not is_alive(child_of(log)))


def test_a_stage_that_ignores_interruption_is_ended(stages: ModuleType, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(stages, "GRACE", 0.1)
    code = "import signal, time; signal.signal(2, signal.SIG_IGN); print('child 1', flush=True); time.sleep(600)"
    process = started([sys.executable, "-c", code], tmp_path / "log")
    assert stages.wait(process, 0.01) and process.returncode == -9


@pytest.mark.parametrize("number", [2, 15])
def test_an_interrupted_script_leaves_no_stage_behind(tmp_path: Path, number: int):
    code = (
        f"import signal, subprocess, sys; sys.path.insert(0, {str(SCRIPTS)!r}); sys.dont_write_bytecode = True\n"
        "from gpu_stages import wait\n"
        "signal.signal(signal.SIGTERM, signal.default_int_handler)\n"  # as the script does
        f"wait(subprocess.Popen([sys.executable, '-c', {HANGING!r}], start_new_session=True), 600)\n"
    )
    log = tmp_path / "log"
    process = started([sys.executable, "-c", code], log)
    process.send_signal(number)
    assert process.wait(PATIENCE) != 0
    wait_until(lambda: not is_alive(child_of(log)))
