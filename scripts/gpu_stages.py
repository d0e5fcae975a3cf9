"""Commands with time limits, run in turn: what the scripts gpu_* are made of.

A stage that fails, hangs or cannot run stops no other, and what it had written stays.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

USUAL_CUDA = Path("/usr/local/cuda/bin")
GRACE = 10.0  # seconds between asking a stage to stop and ending it


@dataclass
class Stage:
    """One command.

    Attributes:
        name: What it is called in the summary.
        command: Arguments.
        limit: Seconds after which it is stopped.
        log: File in the results that takes its output; stages may share one.
        needs: Programs without which it cannot run.
        reserve: Seconds that earlier stages must leave for it.
        environment: Variables that it alone has.
        outcome: passed, failed, stopped at its limit, or not run.
        rc: Exit status.
        seconds: How long it took.
    """

    name: str
    command: list[str]
    limit: float
    log: str = "log.txt"
    needs: list[str] = field(default_factory=list)
    reserve: float = 0.0
    environment: dict[str, str] = field(default_factory=dict)
    outcome: str = "not run"
    rc: int | None = None
    seconds: float = 0.0


def run_stages(
    stages: list[Stage],
    out: Path,
    folder: Path,
    environment: dict[str, str],
    end: float,
    after: Callable[[Stage], object] = lambda stage: None,
) -> None:
    """Run the stages one after the other, whatever becomes of them, until ``end`` on the monotonic clock.

    ``after`` is called with each one that is over.
    """
    for number, stage in enumerate(stages):
        later = sum(other.reserve for other in stages[number + 1 :])
        stage.limit = round(min(stage.limit, max(end - time.monotonic() - later, 0)), 1)
        run_stage(stage, out, folder, environment)
        print(f"{stage.name}: {stage.outcome} in {stage.seconds:.0f} s", flush=True)
        after(stage)


def run_stage(stage: Stage, out: Path, folder: Path, environment: dict[str, str]) -> None:
    """Run one stage and note its outcome."""
    absent = [program for program in stage.needs if which(program) is None]
    if absent or stage.limit <= 0:
        stage.outcome = f"not run: {', '.join(absent)} missing" if absent else "not run: no time left"
        return
    began = time.monotonic()
    with open(out / stage.log, "a") as log:
        log.write(f"==> {stage.name}\n")
        log.flush()
        try:
            process = subprocess.Popen(
                stage.command,
                cwd=folder,
                env={**environment, **stage.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            log.write(f"{error}\n")
            stage.outcome = "failed"
            return
        stopped = wait(process, stage.limit)
    stage.seconds = round(time.monotonic() - began, 1)
    stage.rc = process.returncode
    stage.outcome = "stopped at its limit" if stopped else "passed" if stage.rc == 0 else "failed"


def wait(process: subprocess.Popen[bytes], limit: float) -> bool:
    """Wait until a process ends; past the limit interrupt it, then end it and what it started. True if stopped."""
    try:
        process.wait(limit)
        return False
    except subprocess.TimeoutExpired:
        pass
    except BaseException:  # it is in a session of its own, and would outlive an interrupted script
        _signal(process, signal.SIGKILL)
        raise
    for number in (signal.SIGINT, signal.SIGKILL):
        _signal(process, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(GRACE)
            break
    _signal(process, signal.SIGKILL)
    return True


def _signal(process: subprocess.Popen[bytes], number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def which(program: str) -> str | None:
    """A program's path, also where CUDA is usually installed without being on PATH."""
    return shutil.which(program) or shutil.which(program, path=str(USUAL_CUDA))


def forget_logs(out: Path, *names: str) -> None:
    """A log of an earlier run is not continued."""
    for name in names or ("log.txt",):
        (out / name).unlink(missing_ok=True)


def read_json(path: Path) -> dict[str, Any] | None:
    """A JSON file, or None."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None


def summary_head(title: str, facts: dict[str, Any]) -> list[str]:
    """The first lines of a page: on what, with what, and how each stage ended."""
    gpu = facts["gpu"]
    machine = f"{gpu['count']} x {gpu['name']}, {gpu['memory_gib']} GiB, capability {gpu['capability']}" if gpu else ""
    return [
        f"# {title}" if gpu else f"# Rehearsal on a CPU: {title}",
        "",
        *([] if gpu else ["**No figure on this page is one of a GPU**: sizes are tiny and say nothing of speed.", ""]),
        f"{machine or 'CPU'}; commit {facts['commit'] or 'unknown'}; {facts['date']}; {facts['minutes']} minutes.",
        "",
        ", ".join(f"{name} {version}" for name, version in facts["versions"].items() if version),
        "",
    ]


def stage_table(stages: list[dict[str, Any]]) -> list[str]:
    """How each stage ended."""
    lines = ["| stage | outcome | exit status | s | limit, s | log |", "|---|---|---|---|---|---|"]
    for stage in stages:
        rc = "" if stage["rc"] is None else stage["rc"]
        cells = (stage["name"], stage["outcome"], rc, stage["seconds"], stage["limit"], stage["log"])
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return lines
