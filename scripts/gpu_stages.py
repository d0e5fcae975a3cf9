"""Commands with limits of time, run in turn on this checkout, and how long trainings fit them: of ``scripts/gpu``."""

from __future__ import annotations

import argparse
import ast
import contextlib
import csv
import importlib.util
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCES = (
    "csrc",
    "cmake",
    "dimvida",
    "tests",
    "scripts",
    "docs",
    "CMakeLists.txt",
    "setup.py",
    "pyproject.toml",
    "README.md",
    "LICENSE",
    "MANIFEST.in",
)
NEEDED = {
    "to build": ("setuptools", "pybind11", "cmake", "ninja"),
    "to run": (
        *("torch", "torchvision", "numpy", "PIL", "typer", "rich", "safetensors", "torchmetrics", "scipy"),
        *("matplotlib", "jinja2"),
    ),
    "to test": ("pytest", "hypothesis", "pytest_benchmark"),
    "for LPIPS": ("lpips",),
}
USUAL_CUDA = "/usr/local/cuda/bin"
MARGIN = 0.92  # of the time left is filled with steps: a rate measured over seconds is not exact
GRACE = 10.0  # seconds between asking a stage to stop and ending it


@dataclass
class Stage:
    """One command.

    Attributes:
        name: What it is called in the summary.
        command: Arguments.
        limit: Seconds after which it is stopped.
        keep: Seconds that earlier stages leave for it.
        needs: A program without which it cannot run.
        environment: Variables that it alone has.
        outcome: ``done``, ``failed``, ``stopped at its limit``, or ``not run`` and why.
        seconds: How long it took.
    """

    name: str
    command: list[str]
    limit: float
    keep: float = 0.0
    needs: str = ""
    environment: dict[str, str] = field(default_factory=dict)
    outcome: str = "not run"
    seconds: float = 0.0


class Run:
    """The stages of one call of this script, what they share, and what became of them."""

    def __init__(self, options: argparse.Namespace, work: Path) -> None:
        self.options, self.work, self.out = options, work, options.out.absolute()
        self.end = time.monotonic() + 60 * options.minutes
        self.gpu = find_gpu() if options.device.startswith("cuda") else None
        self.root = ROOT if options.no_build else work / "checkout"
        path = os.pathsep.join(filter(None, [str(self.root), os.environ.get("PYTHONPATH")]))
        self.environment = {**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1", "COLUMNS": "80"}
        # What one stage has compiled the next one finds, and the next run does not.
        self.environment["TORCHINDUCTOR_CACHE_DIR"] = str(work / "inductor")
        self.stages: list[Stage] = []
        self.usable = True
        self.left_out: list[str] = []
        try:
            self.out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise stop(f"--out {options.out}: {error.strerror}") from None
        (self.out / "log.txt").unlink(missing_ok=True)
        for purpose, modules in NEEDED.items():
            if absent := [module for module in modules if importlib.util.find_spec(module) is None]:
                self.leave_out(f"not installed: {', '.join(absent)} ({purpose})")

    @property
    def left(self) -> float:
        """Seconds until the end."""
        return self.end - time.monotonic()

    def leave_out(self, text: str) -> None:
        """Say what is not done, and why."""
        print(text, flush=True)
        self.left_out.append(text)

    def dimvida(self, *arguments: object) -> list[str]:
        """A command line of the package, on the device asked for."""
        return [sys.executable, "-m", "dimvida", *map(str, arguments), "--device", self.options.device]

    def build(self) -> None:
        """Copy the checkout and build its native module for this GPU, unless it is taken as it is built.

        Without kernels for the device nothing else runs: the reference would stand in for them, and pass.
        """
        kind = self.options.device.partition(":")[0]
        if not self.options.no_build:
            copy_checkout(self.root)
            variables = {"DIMVIDA_CUDA": "on" if self.gpu else "off"}
            if self.gpu:
                archs = os.environ.get("DIMVIDA_CUDA_ARCHS") or f"{self.gpu['capability']}-real"
                compiler = os.environ.get("CUDACXX") or which("nvcc") or "nvcc"
                variables |= {"DIMVIDA_CUDA_ARCHS": archs, "CUDACXX": compiler, "CUDAFLAGS": lines_of_code()}
            command = [sys.executable, "setup.py", "build_ext", "--inplace"]
            limit = 180 if self.gpu else 600  # a machine without a GPU may have two cores, and other work
            self.do(Stage("build", command, limit, needs="nvcc" if self.gpu else "", environment=variables))
        code = "from dimvida import ops; print(ops.__file__, ops.build_info()); "
        code += f"raise SystemExit(not ops.native_available({kind!r}))"
        self.do(Stage("kernels", [sys.executable, "-c", code], 30))
        self.usable = self.stages[-1].outcome == "done"

    def do(self, *stages: Stage) -> None:
        """Run stages in turn, whatever becomes of each; the summary is written after each one."""
        for number, stage in enumerate(stages):
            self.stages.append(stage)
            later = sum(other.keep for other in stages[number + 1 :])
            stage.limit = round(min(stage.limit, max(self.left - later, 0.0)), 1)
            self._do(stage)
            print(f"{stage.name}: {stage.outcome}, {stage.seconds:.0f} s", flush=True)
            self.save()

    def _do(self, stage: Stage) -> None:
        if stage.needs and which(stage.needs) is None:
            stage.outcome = f"not run: there is no {stage.needs}, on PATH or in {USUAL_CUDA}"
            return
        if stage.limit <= 0 or not self.usable:
            stage.outcome = f"not run: {'no time left' if stage.limit <= 0 else 'there are no kernels for the device'}"
            return
        began = time.monotonic()
        with open(self.out / "log.txt", "a") as log:
            print(f"==> {stage.name}: {shlex.join(stage.command)}", file=log, flush=True)
            process = subprocess.Popen(
                stage.command,
                cwd=self.root,
                env={**self.environment, **stage.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            stopped = wait(process, stage.limit)
        stage.seconds = round(time.monotonic() - began, 1)
        stage.outcome = "stopped at its limit" if stopped else "failed" if process.returncode else "done"

    def save(self) -> None:
        """Write summary.json."""
        told = ("name", "outcome", "seconds", "limit")
        stages = [{name: getattr(stage, name) for name in told} for stage in self.stages]
        facts = {"subcommand": self.options.subcommand, "gpu": self.gpu, "left_out": self.left_out, "stages": stages}
        (self.out / "summary.json").write_text(json.dumps(facts, indent=1) + "\n")


def copy_checkout(target: Path) -> None:
    """Copy what is built and tested, without anything that is built already."""
    target.mkdir()
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, target / name, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
        else:
            shutil.copy(ROOT / name, target)


def untestable(run: Run) -> list[Path]:
    """Test files that import a package which is not installed here; each is named."""
    found, helpers = [], {path.stem for path in (ROOT / "tests").iterdir()}
    for file in sorted((ROOT / "tests").rglob("test_*.py")):
        text = file.read_text()
        names = {"pytest_benchmark"} if "(benchmark," in text else set()
        for node in ast.parse(text).body:
            names |= {alias.name for alias in node.names} if isinstance(node, ast.Import) else set()
            names |= {node.module} if isinstance(node, ast.ImportFrom) else set()
        names = {name.partition(".")[0] for name in names} - helpers
        if absent := [name for name in sorted(names) if importlib.util.find_spec(name) is None]:
            found.append(file.relative_to(ROOT))
            run.leave_out(f"left out: {found[-1]} (needs {', '.join(absent)})")
    return found


def lines_of_code() -> str:
    """Flags of nvcc with line numbers for the sanitizer's reports, which change no code."""
    return f"{os.environ.get('CUDAFLAGS', '')} -lineinfo".strip()


def wait(process: subprocess.Popen[bytes], limit: float) -> bool:
    """Wait until a process ends; past the limit interrupt it, then end it and what it started. True if stopped."""

    def send(number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)

    try:
        process.wait(limit)
        return False
    except subprocess.TimeoutExpired:
        send(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(GRACE)
        return True
    finally:  # it is in a session of its own, and what it started would outlive it and this script
        send(signal.SIGKILL)
        process.wait()


def which(program: str) -> str | None:
    """A program's path, also where CUDA is usually installed without being on PATH."""
    return shutil.which(program) or shutil.which(program, path=USUAL_CUDA)


def find_gpu() -> dict[str, str]:
    """Name and architecture of the first GPU; ends the script where there is none."""
    code = "import json, torch; p = torch.cuda.get_device_properties(0); "
    code += "print(json.dumps({'name': p.name, 'capability': f'{p.major}{p.minor}', 'torch': torch.__version__}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)  # its memory goes with it
    if done.returncode:
        raise stop(f"no NVIDIA GPU here ({(done.stderr.strip().splitlines() or ['torch does not run'])[-1]})")
    return json.loads(done.stdout.splitlines()[-1])


def stop(message: str) -> SystemExit:
    """To be raised: one line on standard error and exit status 2."""
    print(f"error: {message}", file=sys.stderr)
    return SystemExit(2)


def steps_per_second(curve: Path) -> float | None:
    """From the first point of a learning curve to the last, so that what happens once is left out; None without two."""
    with contextlib.suppress(OSError), open(curve) as file:
        points = [(int(row["step"]), float(row["seconds"])) for row in csv.DictReader(file)]
        if len(points) > 1:  # seconds are given in tenths
            return (points[-1][0] - points[0][0]) / max(points[-1][1] - points[0][1], 0.1)
    return None


def fitting(rate: float, seconds: float) -> int:
    """Steps that fit some seconds at a rate, and at least one."""
    return max(int(rate * seconds * MARGIN), 1)


def lengths(stage: str, steps: int, points: int) -> list[str]:
    """Settings of a stage of so many steps, whose learning curve has so many points."""
    values = {"steps": steps, "log_every": max(steps // points, 1), "save_every": max(steps // 4, 1), "sheet_every": 0}
    return [f"{stage}_stage.{name}={value}" for name, value in values.items()]
