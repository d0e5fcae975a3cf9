"""``dimvida doctor``: what is installed, what this machine offers, and what would help."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import json
import os
import platform
import shutil
from pathlib import Path
from typing import Any

from rich.text import Text

from dimvida._version import __version__
from dimvida.cli import options
from dimvida.cli.options import FLOAT32_CONVOLUTIONS, FLOAT32_PRODUCTS
from dimvida.cli.terminal import WIDTH, console, new_table
from dimvida.errors import InputError

EXTRAS = {
    "render": ("trimesh", "embreex"),
    "fid": ("torch_fidelity",),
    "webdataset": ("webdataset",),
    "tracking": ("tensorboard",),
    "parquet": ("pyarrow",),
    "hub": ("datasets", "huggingface_hub", "pyarrow"),
    "remote": ("fsspec", "s3fs"),
    "gs": ("fsspec", "gcsfs"),
    "ray": ("ray",),
}
VARIABLES = {
    "DIMVIDA_CUDA": "build: auto (when nvcc is found), on, off",
    "DIMVIDA_CUDA_ARCHS": "build: GPU architectures, such as 80;90",
    "CUDACXX": "build: path of nvcc if it is not on PATH",
    "DIMVIDA_DTYPE": "run: what dtype auto means",
    "DIMVIDA_SIMD": "run: CPU kernels to use",
    "OMP_NUM_THREADS": "run: CPU threads",
    "CUDA_VISIBLE_DEVICES": "run: GPUs to use",
    "TORCH_HOME": "run: where torch keeps downloaded weights",
}
USUAL_NVCC = Path("/usr/local/cuda/bin/nvcc")
REBUILD = "pip install --force-reinstall --no-deps ."


def doctor(as_json: options.PrintJson = False) -> int:
    """Print what is installed, what the native kernels can do here, and how to change it."""
    facts = examine()
    if as_json:
        print(json.dumps(facts, indent=2))
    else:
        _print(facts)
    return 0


def examine() -> dict[str, Any]:
    """Everything that the command prints, as JSON-ready values."""
    torch, torch_error = _import("torch")
    _, torchvision_error = _import("torchvision")
    native = _native_facts()
    gpus = _gpu_facts(torch)
    facts: dict[str, Any] = {
        "dimvida": __version__,
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "torch": {"version": _version("torch"), "error": torch_error},
        "torchvision": {"version": _version("torchvision"), "error": torchvision_error},
        "native": native,
        "threads": None if torch is None else torch.get_num_threads(),
        "gpus": gpus,
        "float32_on_gpus": {"products": FLOAT32_PRODUCTS, "convolutions": FLOAT32_CONVOLUTIONS},
        "defaults": _default_facts(torch),
        "extras": {extra: [m for m in modules if not _is_installed(m)] for extra, modules in EXTRAS.items()},
        "environment": {name: os.environ.get(name) for name in VARIABLES},
    }
    facts["advice"] = _advice(facts)
    return facts


def _import(name: str) -> tuple[Any, str | None]:
    try:
        return importlib.import_module(name), None
    except Exception as error:  # a mismatched pair of torch and torchvision fails in many ways
        return None, f"{type(error).__name__}: {error}".splitlines()[0]


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _is_installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def _native_facts() -> dict[str, Any]:
    ops, error = _import("dimvida.ops")
    if ops is None:
        return {"available": False, "error": error}
    return {"available": ops.native_available(), "error": ops.native.import_error or None, **ops.build_info()}


def _gpu_facts(torch: Any) -> list[dict[str, Any]]:
    if torch is None or not torch.cuda.is_available():
        return []
    gpus = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    return [
        {"name": gpu.name, "capability": f"{gpu.major}.{gpu.minor}", "memory_gib": round(gpu.total_memory / 2**30, 1)}
        for gpu in gpus
    ]


def _default_facts(torch: Any) -> dict[str, Any]:
    """What ``--device auto`` and ``--dtype auto`` mean here, and why."""
    backends, error = _import("dimvida.sampling.backends")
    if torch is None or backends is None:
        return {"device": None, "dtype": None, "reason": error or "torch does not import"}
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        dtype = str(backends.default_dtype(device)).removeprefix("torch.")
    except InputError as problem:
        return {"device": device.type, "dtype": None, "reason": str(problem)}
    return {"device": device.type, "dtype": dtype, "reason": _reason_for_dtype(torch, device.type, dtype)}


def _reason_for_dtype(torch: Any, device: str, dtype: str) -> str:
    if os.environ.get("DIMVIDA_DTYPE"):
        return "DIMVIDA_DTYPE says so"
    if device == "cuda":
        return "the GPU " + ("multiplies" if dtype == "bfloat16" else "does not multiply") + " bfloat16 natively"
    having = {"avx512_bf16": torch.cpu._is_avx512_bf16_supported(), "amx": torch.cpu._is_amx_tile_supported()}
    found = [name for name, present in having.items() if present]
    return f"the CPU has {' and '.join(found)}" if found else f"the CPU has neither {' nor '.join(having)}"


def is_compiled_for(archs: list[str], capability: str) -> bool:
    """Whether code for CMake's ``archs`` runs on a GPU of a capability such as ``9.0``.

    Machine code runs on the same major version from its minor version on, PTX on everything newer.
    """
    major, minor = (int(part) for part in capability.split("."))
    for arch in archs:
        name, _, kind = arch.partition("-")
        number = int(name.rstrip("af"))
        exact = name.isdigit()  # 90a and 100f do not run elsewhere
        if kind != "virtual" and number // 10 == major and (number % 10 <= minor if exact else number % 10 == minor):
            return True
        if kind != "real" and exact and number <= 10 * major + minor:
            return True
    return False


def _advice(facts: dict[str, Any]) -> list[str]:
    native, gpus = facts["native"], facts["gpus"]
    advice = []
    if facts["torch"]["error"] is None and facts["defaults"]["dtype"] is None:
        advice.append(f"Sampling does not work: {facts['defaults']['reason']}.")
    for name in ("torch", "torchvision"):
        if facts[name]["error"]:
            advice.append(f"{name} does not import: {facts[name]['error']}. Install matching versions of both.")
    if not native["available"]:
        reason = native["error"]
        advice.append(f"The native module did not load ({reason}); PyTorch code runs instead. Build it: {REBUILD}")
    elif native["simd"] not in native["simd_supported"]:
        usable = ", ".join(native["simd_supported"])
        advice.append(f"DIMVIDA_SIMD={native['simd']} names no CPU kernels that run here: choose from {usable}.")
    elif not native["cuda"]:
        advice.append(_how_to_build_cuda())
    elif missed := [gpu for gpu in gpus if not is_compiled_for(native["cuda_archs"], gpu["capability"])]:
        arch = missed[0]["capability"].replace(".", "")
        advice.append(f"The CUDA kernels do not fit the {missed[0]['name']}: DIMVIDA_CUDA_ARCHS={arch} {REBUILD}")
    return advice


def _how_to_build_cuda() -> str:
    text = "This build has no CUDA kernels: on a GPU, slower PyTorch code stands in for them. "
    if shutil.which("nvcc"):
        text += "nvcc is on PATH now. "
    elif USUAL_NVCC.exists():
        text += f"nvcc is in {USUAL_NVCC.parent}: put that on PATH. "
    else:
        text += "To change it, install the CUDA toolkit and put nvcc on PATH. "
    return text + f"Then, in a checkout of dimvida: DIMVIDA_CUDA=on {REBUILD}"


def _print(facts: dict[str, Any]) -> None:
    table = new_table(show_header=False, width=WIDTH)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold", ratio=1)

    def row(name: str, text: str) -> None:
        table.add_row(name, Text(text))

    row("dimvida", f"{facts['dimvida']} on Python {facts['python']}, {facts['platform']}")
    for name in ("torch", "torchvision"):
        row(name, (facts[name]["version"] or "not installed") + (" (broken)" if facts[name]["error"] else ""))
    table.add_section()
    for name, text in _native_rows(facts):
        row(name, text)
    table.add_section()
    for extra, missing in facts["extras"].items():
        row(f"extra {extra}", f"missing: pip install 'dimvida[{extra}]'" if missing else "installed")
    table.add_section()
    for name, value in facts["environment"].items():
        row(name, f"{'not set' if value is None else repr(value)} ({VARIABLES[name]})")

    screen = console()
    screen.print(table)
    for text in facts["advice"] or ["Nothing to improve."]:
        screen.print(Text(text), soft_wrap=False)


def _float32(kinds: dict[str, str]) -> str:
    words = {"ieee": "exact", "tf32": "rounded to TF32"}
    return ", ".join(f"{what} {words[kind]}" for what, kind in kinds.items())


def _native_rows(facts: dict[str, Any]) -> list[tuple[str, str]]:
    native = facts["native"]
    gpus = [f"{g['name']}, {g['memory_gib']} GiB, capability {g['capability']}" for g in facts["gpus"]]
    defaults = facts["defaults"]
    rows = [
        ("GPU", "\n".join(gpus) or "none visible"),
        ("float32 on GPUs", _float32(facts["float32_on_gpus"])),
        ("--device auto", defaults["device"] or "unknown"),
        ("--dtype auto", f"{defaults['dtype'] or 'unknown'}: {defaults['reason']}; trainings too"),
    ]
    if not native["available"]:
        return [("native module", "missing"), *rows]
    chosen = "DIMVIDA_SIMD" if facts["environment"]["DIMVIDA_SIMD"] else "the best here"
    in_use = f"{native['simd']} (in use: {chosen})"
    simd = ", ".join(in_use if name == native["simd"] else name for name in native["simd_compiled"])
    threads = f"{facts['threads']}" + ("" if native["openmp"] else ", but one in the kernels: built without OpenMP")
    archs = ", ".join(arch.removesuffix("-real") for arch in native["cuda_archs"])
    cuda = f"CUDA {native['cuda_version']} for {archs}" if native["cuda"] else "not built"
    return [
        ("native module", f"{native['version']}, {native['compiler']}"),
        ("CPU kernels", simd),
        ("CPU threads", threads),
        ("CUDA kernels", cuda),
        *rows,
    ]
