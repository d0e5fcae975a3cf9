"""Mass generation from files to files: rates, where the time goes, and memory; and the same done plainly beside it."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dimvida.bench.case import one_known
from dimvida.data.batch import load_batch
from dimvida.data.images import to_picture
from dimvida.data.opening import open_source
from dimvida.data.source import MultiViewSource
from dimvida.errors import InputError
from dimvida.evaluation.metrics import psnr, ssim
from dimvida.generation.plan import make_plan
from dimvida.generation.run import Generation
from dimvida.generation.settings import resolve_settings
from dimvida.results.generation import RunTimes
from dimvida.sampling.multiview import MultiViewModel
from dimvida.sampling.trajectory import sample_id_tensor

INPUT_SHARD = 8192  # pictures of an array of inputs
LOOP_BATCH, LOOP_STEPS, LOOP_SOLVER = 64, 250, "euler-maruyama"
STATM = Path("/proc/self/statm")


@contextmanager
def repeated_inputs(source: MultiViewSource, view: str, count: int, form: str = "files") -> Iterator[Path]:
    """A temporary folder of ``count`` single views.

    Args:
        source: Objects whose pictures are written, in turn, until there are enough.
        view: Name of the one view of each object that is written.
        count: Number of single views in the folder.
        form: ``files``: a PNG file each. ``npy``: array shards, which need no decoding and have few files.

    Raises:
        InputError: No object has that view.
    """
    indices = [index for index, record in enumerate(source.records) if view in record.views]
    if not indices:
        raise InputError(f"{source.path}: no object has a view {view!r}")
    with TemporaryDirectory(prefix="dimvida-bench-") as name:
        folder = Path(name)
        write = _write_files if form == "files" else _write_arrays
        write(folder, source, indices, view, count)
        yield folder


def _write_files(folder: Path, source: MultiViewSource, indices: Sequence[int], view: str, count: int) -> None:
    for place in range(count):
        index = indices[place % len(indices)]
        target = folder / _class_name(source, index) / f"{place:06d}__{view}.png"
        target.parent.mkdir(exist_ok=True)
        if place < len(indices):
            Image.fromarray(source.read_view(index, view).pixels).save(target)
        else:
            shutil.copyfile(target.with_name(f"{place % len(indices):06d}__{view}.png"), target)


def _write_arrays(folder: Path, source: MultiViewSource, indices: Sequence[int], view: str, count: int) -> None:
    """Write the same inputs as ``dimvida generate --format npy`` has them, see ``dimvida.data.shards``."""
    pictures = np.stack([source.read_view(index, view).pixels for index in indices[:count]])
    names = [_class_name(source, index) for index in indices]
    for number, start in enumerate(range(0, count, INPUT_SHARD)):
        places = np.arange(start, min(start + INPUT_SHARD, count))
        np.save(folder / f"shard-{number:06d}.npy", pictures[places % len(pictures)])
        lines = []
        for place in places.tolist():
            label = names[place % len(pictures)]
            lines.append(json.dumps({"key": f"{label}/{place:06d}", "view": view, "label": label, "kind": "real"}))
        (folder / f"shard-{number:06d}.jsonl").write_text("".join(f"{line}\n" for line in lines))


def _class_name(source: MultiViewSource, index: int) -> str:
    return source.records[index].class_name or "object"


def warm_up(model: MultiViewModel) -> None:
    """Generate once, so that what a model builds on first use is no part of a run's time."""
    views, size = len(model.view_names), model.image_size
    images = torch.zeros(views, views, model.channels, size, size, dtype=torch.uint8)
    model.generate(images, one_known(views, views))


def measure_run(
    model: MultiViewModel,
    inputs: Path,
    format: str,
    batch: int,
    steps: int,
    *,
    workers: int,
    progress: Callable[[int], object],
) -> RunTimes:
    """Generate all views of the inputs into a temporary folder, as the command does, and look at the memory meanwhile.

    Args:
        model: The model that generates the missing views.
        inputs: A folder of single views.
        format: Form of the output.
        batch: Objects at a time.
        steps: Network evaluations of a trajectory.
        workers: Reading processes; 0 reads in a thread.
        progress: Called with numbers of views as they are done.
    """
    plan = make_plan(open_source(inputs), model.view_names)
    settings = resolve_settings(model, steps=steps, batch=batch, format=format)
    held: list[int] = []

    def count(views: int) -> None:
        held.append(resident_bytes())
        progress(views)

    with TemporaryDirectory(prefix="dimvida-bench-") as folder:
        output = Path(folder) / "out"
        generation = Generation(model, plan, settings, output, workers=workers)
        start = time.perf_counter()
        with generation:
            report = generation.run(count)
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
        held[-1],
        growth(held),
    )


def resident_bytes() -> int:
    """Memory that this process holds, as Linux counts it."""
    return int(STATM.read_text().split()[1]) * 4096


def growth(held: Sequence[int]) -> float:
    """How much more memory the last fifth of a run's batches held than the second tenth, at the median of each."""
    count = len(held)
    early, late = held[count // 10 : count // 5] or held[:1], held[-(count // 5 or 1) :]
    return float(np.median(late) / np.median(early) - 1)


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
