"""How busy a GPU is while something runs, as ``nvidia-smi`` samples it."""

from __future__ import annotations

import statistics
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch

INTERVAL = 300  # milliseconds between samples
TIMEOUT = 10.0  # seconds
# Name in the result -> field of nvidia-smi: percent, percent, MiB, W, MHz.
FIELDS = {
    "gpu_percent": "utilization.gpu",
    "memory_percent": "utilization.memory",
    "memory_mib": "memory.used",
    "power_w": "power.draw",
    "clock_mhz": "clocks.sm",
}


@dataclass(slots=True)
class Utilisation:
    """Samples of one stretch of time.

    Attributes:
        samples: Values by name; empty where there is no GPU, or no ``nvidia-smi``. ``gpu_percent`` is the share of time
            in which any kernel ran, however small a part of the GPU it filled.
    """

    samples: dict[str, list[float]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any] | None:
        """For JSON: mean, median and largest value by name; None without samples."""
        found = {
            name: {"mean": statistics.fmean(values), "median": statistics.median(values), "largest": max(values)}
            for name, values in self.samples.items()
            if values
        }
        return {"interval_ms": INTERVAL, "samples": max(map(len, self.samples.values())), **found} if found else None


@contextmanager
def sampled(device: torch.device) -> Iterator[Utilisation]:
    """Sample a GPU as long as the block runs; the samples are there after it."""
    utilisation = Utilisation()
    if device.type != "cuda":
        yield utilisation
        return
    # By its UUID: nvidia-smi knows nothing of CUDA_VISIBLE_DEVICES.
    uuid = torch.cuda.get_device_properties(device).uuid
    with run_nvidia_smi(f"GPU-{uuid}", utilisation):
        yield utilisation


@contextmanager
def run_nvidia_smi(gpu: str, utilisation: Utilisation) -> Iterator[None]:
    """Ask ``nvidia-smi`` again and again beside the block."""
    over = threading.Event()
    thread = threading.Thread(target=_sample, args=(gpu, utilisation, over), name="dimvida-nvidia-smi")
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _sample(gpu: str, utilisation: Utilisation, over: threading.Event) -> None:
    # A call for each sample: what its own --loop has printed could be lost in a buffer when it is stopped.
    command = ["nvidia-smi", f"--id={gpu}", f"--query-gpu={','.join(FIELDS.values())}", "--format=csv,noheader,nounits"]
    while not over.is_set():
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT)
        except (OSError, subprocess.TimeoutExpired):
            return
        for name, values in parse(done.stdout).items():
            utilisation.samples.setdefault(name, []).extend(values)
        over.wait(INTERVAL / 1e3)


def parse(text: str) -> dict[str, list[float]]:
    """Values by name; those that a GPU does not tell, such as ``[N/A]``, and a line that was cut off are left out."""
    samples: dict[str, list[float]] = {name: [] for name in FIELDS}
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.split(",")]
        if len(cells) != len(FIELDS):
            continue
        for name, cell in zip(FIELDS, cells, strict=True):
            try:
                samples[name].append(float(cell))
            except ValueError:
                continue
    return samples
