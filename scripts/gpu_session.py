"""A run of one of the scripts gpu_*: the GPU, this checkout installed for it, options, time and facts."""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
import venv
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from gpu_stages import USUAL_CUDA, Stage, run_stages, which

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ("csrc", "cmake", "dimvida", "CMakeLists.txt", "setup.py", "pyproject.toml", "LICENSE", "MANIFEST.in")
TO_BUILD = ("setuptools", "pip", "pybind11", "cmake", "ninja")
TO_RUN = ("torch", "torchvision", "numpy", "PIL", "typer", "rich", "safetensors", "torchmetrics", "matplotlib", "lpips")
SETUPTOOLS = 77
PATIENCE = 5  # a rehearsal may take that many times as long: a CPU may be slow, or busy


@dataclass
class Session:
    """Where the stages of one run of a script work.

    Attributes:
        script: Name of the script.
        work: Temporary folder.
        out: Folder of results.
        gpu: Facts about the GPU; None in a rehearsal.
        python: The Python that has the package, once the build has run.
        environment: Variables of all stages.
        began: When, on the monotonic clock.
        end: When everything must be over.
        stages: Those that have run.
    """

    script: str
    work: Path
    out: Path
    gpu: dict[str, Any] | None
    python: str
    environment: dict[str, str]
    began: float
    end: float
    stages: list[Stage] = field(default_factory=list)

    @property
    def id(self) -> str:
        """Tells this run from others."""
        return self.work.name

    @property
    def device(self) -> str:
        """Where stages compute, as for ``--device``."""
        return "cpu" if self.gpu is None else "cuda"

    @property
    def folder(self) -> Path:
        """Where stages run: the checkout's own package is not importable there."""
        return self.work / "run"

    @property
    def left(self) -> float:
        """Seconds until the end."""
        return self.end - time.monotonic()

    def dimvida(self, *arguments: object) -> list[str]:
        """A command line of the package."""
        return [self.python, "-m", "dimvida", *map(str, arguments)]

    def build_stages(self, log: str = "log.txt") -> list[Stage]:
        """``pip install .`` as on a machine without a network, and whether what it made is for this GPU."""
        options = ["--no-build-isolation", "--no-deps", "--no-index", "--disable-pip-version-check"]
        install = [self.python, "-m", "pip", "install", *options, str(self.work / "checkout")]
        built = "from dimvida import ops; print(ops.__file__, ops.build_info()); "
        built += f"raise SystemExit(not ops.native_available({self.device!r}))"
        return [
            Stage("build", install, 160, log, ["nvcc"] if self.gpu else []),
            Stage("import", [self.python, "-c", built], 60, log, reserve=20),
        ]

    def run(self, stages: list[Stage], after: Callable[[Stage], object] = lambda stage: None) -> None:
        """Run stages in turn within the time that is left."""
        self.stages += stages
        for stage in stages if self.gpu is None else ():
            stage.limit *= PATIENCE
        run_stages(stages, self.out, self.folder, self.environment, self.end, after)

    def facts(self) -> dict[str, Any]:
        """For JSON: where this ran, with what, and what became of each stage. No path of this machine."""
        stages = [asdict(stage) for stage in self.stages]
        for stage in stages:
            del stage["environment"]
            names = {str(self.work): "WORK", str(self.out): "OUT", str(ROOT): "CHECKOUT", self.python: "python"}
            for path, name in sorted(names.items(), key=lambda item: -len(item[0])):
                stage["command"] = [part.replace(path, name) for part in stage["command"]]
        return {
            "script": self.script,
            "rehearsal": self.gpu is None,
            "gpu": self.gpu,
            "commit": commit(),
            "sources": sources_digest(),
            "versions": versions(),
            "date": time.strftime("%Y-%m-%d"),
            "minutes": round((time.monotonic() - self.began) / 60, 2),
            "stages": stages,
        }


def make_parser(script: str, doc: str, minutes: float) -> argparse.ArgumentParser:
    """Options that all scripts have; ``$OUT`` is where results go by default."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(script, description=doc, formatter_class=formatter)
    folder = script.replace("_", "-")
    default = Path(os.environ.get("OUT") or folder)
    parser.add_argument("--out", type=Path, default=default, help=f"folder of results (default: $OUT, or {folder})")
    parser.add_argument("--minutes", type=float, default=minutes, help=f"time for everything (default: {minutes})")
    parser.add_argument(
        "--rehearse", action="store_true", help="go through everything on the CPU at tiny sizes, to try the script"
    )
    return parser


@contextlib.contextmanager
def open_session(script: str, options: argparse.Namespace, *, build: bool = True) -> Iterator[Session]:
    """A session on this machine's GPU, or for a rehearsal.

    Args:
        script: Name of the script.
        options: Those of ``make_parser``.
        build: Whether a rehearsal builds too; otherwise it runs the checkout's own package.

    Raises:
        SystemExit: 2, with one line on standard error, if there is no GPU or the options make no sense.
    """
    began = time.monotonic()
    if not options.minutes > 0:
        raise stopped(f"--minutes {options.minutes:g}: must be above 0")
    gpu = None if options.rehearse else find_gpu()
    if isinstance(gpu, str):
        raise stopped(f"{gpu}: {script} needs a machine with an NVIDIA GPU")
    out = options.out.absolute()
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise stopped(f"--out {options.out}: {error.strerror}") from None
    with tempfile.TemporaryDirectory(prefix=f"{script}.") as temporary:
        work = Path(temporary)
        builds = build or gpu is not None
        python = prepare(work) if builds else prepare_rehearsal(work)
        environment = stage_environment(work, gpu, builds=builds)
        seconds = 60 * options.minutes * (1 if gpu else PATIENCE)
        yield Session(script, work, out, gpu, python, environment, began, began + seconds)


def stopped(message: str) -> SystemExit:
    """To be raised: one line on standard error and exit status 2."""
    print(f"error: {message}", file=sys.stderr)
    return SystemExit(2)


def find_gpu() -> dict[str, Any] | str:
    """Facts about the first GPU, or why there is none."""
    code = (
        "import json, torch\n"
        "if not torch.cuda.is_available(): raise SystemExit('torch ' + torch.__version__ + ' sees no GPU')\n"
        "p = torch.cuda.get_device_properties(0)\n"
        "print(json.dumps({'name': p.name, 'capability': f'{p.major}.{p.minor}', 'count': torch.cuda.device_count(),\n"
        "                  'memory_gib': round(p.total_memory / 2**30, 1)}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    if done.returncode == 0:
        return json.loads(done.stdout.splitlines()[-1])
    return (done.stderr.strip().splitlines() or ["torch does not run"])[-1]


def find_missing(*programs: str, **more: tuple[str, ...]) -> list[str]:
    """What is not installed, and what lacks for that.

    Args:
        programs: Which are needed.
        more: Modules needed by purpose, besides those to build and to run the package.
    """
    found = []
    for purpose, modules in {"build": TO_BUILD, "run": TO_RUN, **more}.items():
        absent = [module for module in modules if importlib.util.find_spec(module) is None]
        if absent:
            found.append(f"{', '.join(absent)} (to {purpose})")
    with contextlib.suppress(importlib.metadata.PackageNotFoundError, ValueError):
        version = importlib.metadata.version("setuptools")
        if int(version.split(".")[0]) < SETUPTOOLS:
            found.append(f"setuptools {SETUPTOOLS} or newer (there is {version})")
    return found + [f"{name}, on PATH or in {USUAL_CUDA}" for name in programs if which(name) is None]


def prepare(work: Path) -> str:
    """Copy what is installed, and make an environment to install it into; returns its Python.

    The environment sees the packages of the Python that runs this, because nothing can be fetched, but comes before
    them: a dimvida among them is not what runs.
    """
    (work / "run").mkdir()
    (work / "checkout").mkdir()
    ignored = shutil.ignore_patterns("__pycache__", "*.so", "*.egg-info")
    for name in (*SOURCES, "README.md"):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, work / "checkout" / name, ignore=ignored)
        elif (ROOT / name).exists():
            shutil.copy(ROOT / name, work / "checkout")
    target = work / "venv"
    venv.EnvBuilder(symlinks=True, with_pip=False).create(target)
    site = Path(sysconfig.get_path("purelib", "venv", {"base": str(target), "platbase": str(target)}))
    outer = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    (site / "outer.pth").write_text("".join(f"{path}\n" for path in outer))
    return str(target / "bin" / "python")


def prepare_rehearsal(work: Path) -> str:
    """A rehearsal without a build runs what is here; returns this Python."""
    (work / "run").mkdir()
    return sys.executable


def stage_environment(work: Path, gpu: dict[str, Any] | None, *, builds: bool) -> dict[str, str]:
    """Variables of the stages. DIMVIDA_CUDA_ARCHS and CUDACXX of the caller stay."""
    environment = dict(os.environ)
    environment.update(
        PATH=os.pathsep.join([str(work / "venv" / "bin"), environment.get("PATH", os.defpath)]),
        PYTHONUNBUFFERED="1",
        COLUMNS="80",
        DIMVIDA_CUDA="off" if gpu is None else "on",
        # What one stage has compiled the next one finds, and the next run does not.
        TORCHINDUCTOR_CACHE_DIR=str(work / "inductor"),
    )
    if not builds:
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    if gpu is not None:
        environment.setdefault("DIMVIDA_CUDA_ARCHS", gpu["capability"].replace(".", "") + "-real")
        if "CUDACXX" not in environment and (nvcc := which("nvcc")):
            environment["CUDACXX"] = nvcc
    return environment


def commit() -> str | None:
    """The commit of this checkout, if it is one."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10).stdout.strip() or None
    except (OSError, subprocess.TimeoutExpired):
        return None


def sources_digest() -> str:
    """SHA-256 over what is installed: the same code has the same one, with or without a history."""
    digest = hashlib.sha256()
    for name in SOURCES:
        for path in sorted((ROOT / name).rglob("*")) if (ROOT / name).is_dir() else [ROOT / name]:
            if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".so":
                digest.update(f"{path.relative_to(ROOT)}\0{path.stat().st_size}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def versions() -> dict[str, str | None]:
    """Of Python, nvcc and the packages that matter."""
    found: dict[str, str | None] = {"python": sys.version.split()[0]}
    for name in ("torch", "torchvision", "triton", "setuptools", "pybind11", "cmake", "ninja", "pytest", "hypothesis"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    nvcc = which("nvcc")
    text = subprocess.run([nvcc, "--version"], capture_output=True, text=True).stdout if nvcc else ""
    release = re.search(r"V([\d.]+)", text)
    found["nvcc"] = release.group(1) if release else None
    return found
