"""Mass generation from files to files: rates, where the time goes, memory, and a plain loop beside it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dimvida.bench.subject import random_model
from dimvida.bench.utilisation import sampled
from dimvida.data.batch import load_batch
from dimvida.data.opening import open_source
from dimvida.data.source import MultiViewSource
from dimvida.evaluation.metrics import psnr, ssim
from dimvida.generation.plan import make_plan
from dimvida.generation.run import Generation
from dimvida.generation.settings import resolve_settings
from dimvida.models.checkpoint import CheckpointConfig, SamplingDefaults
from dimvida.models.config import AutoencoderConfig, ScoreConfig
from dimvida.sampling.multiview import MultiViewModel
from dimvida.sampling.trajectory import sample_id_tensor

LOOP_BATCH, LOOP_STEPS, LOOP_SOLVER = 64, 250, "euler-maruyama"
STATM = Path("/proc/self/statm")
# What runs side by side, and the stages that each does one after the other.
LANES = {"reader": ("read",), "model": ("encode", "sample", "decode"), "packers": ("pack",), "writer": ("write",)}


@dataclass(frozen=True, slots=True)
class RunTimes:
    """One run of ``Generation``.

    Attributes:
        format: Form of the output.
        batch: Rows of a batch.
        steps: Network evaluations.
        objects, views: How many were generated.
        seconds: On the wall, from locking the folder to the report.
        stages: Seconds that each stage was at work; they overlap.
        size: Bytes written.
        packers: Threads that pack.
        utilisation: Of the GPU, see ``dimvida.bench.utilisation``; None without one.
    """

    format: str
    batch: int
    steps: int
    objects: int
    views: int
    seconds: float
    stages: dict[str, float]
    size: int
    packers: int = 1
    utilisation: dict[str, Any] | None = None

    @property
    def lanes(self) -> dict[str, float]:
        """Share of the time on the wall in which each lane was at work; a time contains waiting for processors."""
        busy = {lane: sum(self.stages.get(name, 0.0) for name in names) for lane, names in LANES.items()}
        busy["packers"] /= self.packers
        return {lane: seconds / self.seconds for lane, seconds in busy.items()}

    @property
    def bound_by(self) -> str:
        """The lane that the others wait for."""
        return max(self.lanes, key=self.lanes.__getitem__)

    @property
    def other_share(self) -> float:
        """All stages but sampling and decoding, as a share of the time on the wall."""
        return sum(value for name, value in self.stages.items() if name not in ("sample", "decode")) / self.seconds

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "format": self.format,
            "batch": self.batch,
            "steps": self.steps,
            "objects": self.objects,
            "views": self.views,
            "seconds": self.seconds,
            "objects_per_second": self.objects / self.seconds,
            "views_per_second": self.views / self.seconds,
            "stages": self.stages,
            "share_of_wall": {name: value / self.seconds for name, value in self.stages.items()},
            "other_than_sample_and_decode": self.other_share,
            "bytes": self.size,
            "lanes": self.lanes,
            "bound_by": self.bound_by,
            "utilisation": self.utilisation,
        }


def measure_run(
    model: MultiViewModel,
    inputs: Path,
    format: str,
    batch: int,
    *,
    workers: int = 0,
    progress: Callable[[int], object] = lambda views: None,
    **options: Any,
) -> RunTimes:
    """Generate all views of the inputs into a temporary folder, as the command does."""
    plan = make_plan(open_source(inputs), model.view_names)
    settings = resolve_settings(model, batch=batch, format=format, **options)
    with TemporaryDirectory(prefix="dimvida-bench-") as folder:
        output = Path(folder) / "out"
        generation = Generation(model, plan, settings, output, workers=workers)
        with sampled(model.device) as utilisation:
            start = time.perf_counter()
            with generation:
                report = generation.run(progress)
            seconds = time.perf_counter() - start
        assert report is not None
        size = sum(path.stat().st_size for path in output.rglob("*") if path.is_file())
    return RunTimes(
        format,
        batch,
        settings.steps,
        report.objects,
        report.views,
        seconds,
        generation.times.totals(),
        size,
        len(os.sched_getaffinity(0)),
        utilisation.to_dict(),
    )


@torch.no_grad()
def measure_loop(
    model: MultiViewModel, inputs: Path, progress: Callable[[int], object] = lambda views: None
) -> RunTimes:
    """The same done plainly: read, 250 eager steps in batches of 64, one ``Image.save`` for each view."""
    source = open_source(inputs)
    views = 0
    stages = dict.fromkeys(("read", "sample", "write"), 0.0)
    begin = time.perf_counter()
    with TemporaryDirectory(prefix="dimvida-bench-") as name:
        for start in range(0, len(source), LOOP_BATCH):
            indices = range(start, min(start + LOOP_BATCH, len(source)))
            now = time.perf_counter()
            batch, _, _ = load_batch(
                source, indices, image_size=model.image_size, channels=model.channels, view_names=model.view_names
            )
            stages["read"] += time.perf_counter() - now
            now = time.perf_counter()
            made = model.generate(batch.images, batch.known, steps=LOOP_STEPS, solver=LOOP_SOLVER, backend="eager")
            stages["sample"] += time.perf_counter() - now
            now = time.perf_counter()
            for row, known, index in zip(made, batch.known, indices, strict=True):
                for view in torch.nonzero(~known).flatten().tolist():
                    picture = Image.fromarray(row[view].permute(1, 2, 0).numpy())
                    picture.save(Path(name) / f"{index}_{model.view_names[view]}.png")
                    views += 1
            stages["write"] += time.perf_counter() - now
            progress(int((~batch.known).sum()))
        seconds = time.perf_counter() - begin
        size = sum(path.stat().st_size for path in Path(name).iterdir())
    return RunTimes("plain loop", LOOP_BATCH, LOOP_STEPS, len(source), views, seconds, stages, size)


def measure_quality(
    model: MultiViewModel, source: MultiViewSource, view: str, limit: int, batch: int
) -> dict[str, dict[str, float]]:
    """PSNR and SSIM against the true views, of the loop's sampler and of the model's own, on the same objects."""
    complete = [i for i, record in enumerate(source.records) if set(model.view_names) <= set(record.views)][:limit]
    if not complete:
        return {}
    objects, _, _ = load_batch(
        source, complete, image_size=model.image_size, channels=model.channels, view_names=model.view_names
    )
    known = torch.zeros(len(objects), len(model.view_names), dtype=torch.bool)
    known[:, model.view_names.index(view)] = True
    samplers: dict[str, dict[str, Any]] = {
        "plain loop": {"steps": LOOP_STEPS, "solver": LOOP_SOLVER, "backend": "eager"},
        "generate": {},
    }
    return {
        name: _scores(_in_batches(model, objects.images, known, objects.ids, batch, options), objects.images, known)
        for name, options in samplers.items()
    }


def measure_memory(
    model: MultiViewModel, inputs: Path, format: str, batch: int, shard_size: int, **options: Any
) -> list[tuple[int, int]]:
    """Objects that were done, and bytes of memory the process held then, after each batch of a run."""
    plan = make_plan(open_source(inputs), model.view_names)
    settings = resolve_settings(model, batch=batch, format=format, shard_size=shard_size, **options)
    per_object = plan.views / len(plan.tasks)
    done, held = 0, []

    def progress(views: int) -> None:
        nonlocal done
        done += views
        held.append((round(done / per_object), resident_bytes()))

    with (
        TemporaryDirectory(prefix="dimvida-bench-") as folder,
        Generation(model, plan, settings, Path(folder) / "out") as generation,
    ):
        generation.run(progress)
    return held


def tiny_model(view_names: Sequence[str]) -> MultiViewModel:
    """Random weights in small networks that take pictures of 64 pixels: for what depends on neither."""
    config = CheckpointConfig(
        view_names=tuple(view_names),
        classes=(),
        autoencoder=AutoencoderConfig(image_size=64, latent_dim=8, base=4),
        score=ScoreConfig(width=32, time_dim=16, groups=8),
        sampling=SamplingDefaults(solver="sde-dpmpp-2m", steps=2, x0_clip=4.0),
    )
    return random_model(config)


def resident_bytes() -> int:
    """Memory that this process holds, as Linux counts it."""
    return int(STATM.read_text().split()[1]) * 4096


def growth(held: Sequence[tuple[int, int]]) -> float:
    """How much more memory the last fifth of a run held than its second tenth, at the median of each."""
    count = len(held)
    early = [size for _, size in held[count // 10 : count // 5]] or [held[0][1]]
    late = [size for _, size in held[-(count // 5 or 1) :]]
    return float(np.median(late) / np.median(early) - 1)


def _in_batches(
    model: MultiViewModel, images: Tensor, known: Tensor, ids: Sequence[str], batch: int, options: dict[str, Any]
) -> Tensor:
    sample_ids = sample_id_tensor(ids)
    parts = [slice(start, start + batch) for start in range(0, len(images), batch)]
    return torch.cat([model.generate(images[p], known[p], sample_ids=sample_ids[p], **options) for p in parts])


def _scores(made: Tensor, true: Tensor, known: Tensor) -> dict[str, float]:
    return {
        "views": int((~known).sum()),
        "psnr": float(psnr(made[~known], true[~known]).mean()),
        "ssim": float(ssim(made[~known], true[~known]).mean()),
    }
