"""What mass generation is compared with: the same done plainly, and the quality of both samplers."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from dimvida.data.batch import load_batch
from dimvida.data.images import to_picture
from dimvida.data.opening import open_source
from dimvida.data.source import MultiViewSource
from dimvida.evaluation.metrics import psnr, ssim
from dimvida.results.generation import RunTimes
from dimvida.sampling.multiview import MultiViewModel
from dimvida.sampling.trajectory import sample_id_tensor

LOOP_BATCH, LOOP_STEPS, LOOP_SOLVER = 64, 250, "euler-maruyama"


@torch.no_grad()
def measure_loop(model: MultiViewModel, inputs: Path, progress: Callable[[int], object]) -> RunTimes:
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
                    picture = to_picture(row[view].permute(1, 2, 0).numpy())
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
