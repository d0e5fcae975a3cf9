"""Mass generation on a GPU by its command: every form, files that are bad, a last batch, too little memory, Ray."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.objects import damaged, image_bytes, tree

from dimvida.cli.app import run
from dimvida.generation.formats import FORMATS
from dimvida.sampling.completion import BatchCompleter
from dimvida.sampling.multiview import load

OBJECTS, BATCH, BAD = 20_000, 4_096, 7  # 3,616 objects are left for the last batch


def write_objects(folder: Path, objects: int, bad: int) -> Path:
    """Single views in some shades of gray, of which the first few cannot be read."""
    folder.mkdir()
    files = [image_bytes(shade, 16) for shade in range(32)]
    for number in range(objects):
        data = files[number % len(files)]
        (folder / f"{number:05}.png").write_bytes(damaged(data, number) if number < bad else data)
    return folder


def check_generation(out: Path, images: Path, form: str, device: str, objects: int, batch: int, bad: int) -> None:
    """Generate from them and look through all of the output."""
    options = ["--view", "front", "--format", form, "--batch", str(batch), "--skip-bad", "--device", device]
    source = ["--data", str(images), "--checkpoint", "bundled", "--out", str(out)]
    assert run(["generate", *source, *options]) == 0
    report = json.loads((out / "report.json").read_text())
    assert (report["views_generated"], report["skipped_files"]) == (3 * (objects - bad), bad)
    assert run(["generate", "--verify", str(out)]) == 0


@pytest.mark.parametrize("form", FORMATS)
def test_many_objects_with_files_that_cannot_be_read(device: torch.device, tmp_path: Path, form: str):
    if device.index:
        pytest.skip("the first device is enough for this many")
    if form == "parquet":
        pytest.importorskip("pyarrow")
    images = write_objects(tmp_path / "images", OBJECTS, BAD)
    check_generation(tmp_path / "out", images, form, str(device), OBJECTS, BATCH, BAD)


def check_ray(folder: Path, images: Path, alone: tuple[str, ...], ray: tuple[str, ...]) -> None:
    """Generate by one process and by workers, and compare all bytes."""
    made = []
    for name, options in (("one", alone), ("ray", ray)):
        source = ["--data", str(images), "--view", "front", "--checkpoint", "bundled", "--out", str(folder / name)]
        size = ["--format", "npy", "--batch", "64", "--shard-size", "128", "--skip-bad"]
        assert run(["generate", *source, *size, *options]) == 0
        made.append(tree(folder / name))
    assert made[0] == made[1] and len(made[0]) > 6


def test_a_worker_of_ray_takes_the_gpu_and_makes_what_a_process_makes(device: torch.device, tmp_path: Path):
    if device.index:
        pytest.skip("the first device is enough")
    pytest.importorskip("ray")
    images = write_objects(tmp_path / "images", 700, BAD)
    check_ray(tmp_path, images, ("--device", str(device)), ("--ray", "local"))


def test_too_little_memory_ends_in_smaller_batches(device: torch.device):
    model, notes = load("bundled", device), list[str]()
    rows, size = 8192, model.image_size
    known = torch.tensor([True, False, False, False]).expand(rows, -1)
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (rows, size, size, 3), np.uint8))
    sampling = {"steps": 2, "solver": "ddim", "seed": 0, "backend": "fused", "dtype": torch.bfloat16}
    total = torch.cuda.get_device_properties(device).total_memory
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved(device) + 2**30) / total, device)
    try:
        completer = BatchCompleter(model, rows, sampling, note=notes.append)
        made = completer.complete(images, known, ~known, torch.arange(rows), [""] * rows)()
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, device)
    assert notes and all("out of memory" in note for note in notes)
    whole = BatchCompleter(model, 64, sampling).complete(
        images[:64], known[:64], ~known[:64], torch.arange(64), [""] * 64
    )()
    assert (made[: 3 * 64].int() - whole.int()).abs().float().mean() < 1
