"""What gpu_train decides and writes: steps that fit into the time, what of a checkpoint is kept, and the page."""

from __future__ import annotations

import csv
import hashlib
import tarfile
from pathlib import Path
from typing import Any

from gpu_page import number, table
from gpu_stages import stage_table, summary_head

STAGES = ("autoencoder", "diffusion")
MARGIN = 0.92  # of the time that is left is filled with steps: a rate measured over seconds is not exact
POINTS = 60  # of a learning curve

# For minutes on a large GPU in place of what a preset leaves to days: larger batches, the rate of `paper` raised by the
# square root of that, and a schedule that ends when the time does. A starting point, not a finding.
FOR_MINUTES = {
    "paper": (
        "autoencoder_stage.batch=256",
        "autoencoder_stage.lr=2e-4",
        "autoencoder_stage.lr_schedule=cosine",
        "autoencoder_stage.warmup_steps=100",
        "diffusion_stage.batch=1024",
        "diffusion_stage.lr=4e-4",
        "diffusion_stage.lr_schedule=cosine",
        "diffusion_stage.warmup_steps=200",
        "storage.dtype=float16",
    ),
    "small": ("autoencoder_stage.batch=128", "diffusion_stage.batch=1024"),
    "tiny": (),
}


def read_curve(run: Path, stage: str) -> list[dict[str, float]]:
    """A run's learning curve of a stage; empty if there is none."""
    try:
        with open(run / f"{stage}.csv") as file:
            return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    except (OSError, ValueError, TypeError):
        return []


def steps_per_second(curve: list[dict[str, float]]) -> float | None:
    """From the first point to the last one, so that what happens once is left out; None with fewer than two."""
    if len(curve) < 2 or curve[-1]["seconds"] <= curve[0]["seconds"]:
        return None
    return (curve[-1]["step"] - curve[0]["step"]) / (curve[-1]["seconds"] - curve[0]["seconds"])


def overhead(trial: Path, seconds: float) -> float:
    """Seconds of a trial in which nothing was trained: starting, reading, encoding, drawing."""
    trained = [curve[-1]["seconds"] for stage in STAGES if (curve := read_curve(trial, stage))]
    return max(seconds - sum(trained), 0.0)


def settings_for(stage: str, rate: float, seconds: float, log_every: int) -> list[str]:
    """As many steps as fit, and a curve with a bounded number of points: each costs a validation.

    Args:
        stage: Its name.
        rate: Steps a second.
        seconds: How long it may take.
        log_every: Steps between two points of the curve, at least.
    """
    steps = max(int(rate * max(seconds, 0.0) * MARGIN), 1)
    every = min(max(steps // POINTS, log_every), steps)
    values = {"steps": steps, "log_every": every, "save_every": max(steps // 4, 1), "sheet_every": 0}
    return [f"{stage}_stage.{name}={value}" for name, value in values.items()]


def pack_checkpoint(folder: Path, target: Path, most: int) -> list[dict[str, Any]]:
    """Put the files of a checkpoint into a tar file of at most so many bytes, smallest first.

    Returns:
        All files, with size, hash and whether they are in it.
    """
    files = sorted((path for path in folder.iterdir() if path.is_file()), key=lambda path: path.stat().st_size)
    found = []
    with tarfile.open(target, "w") as archive:
        for path in files:
            size = path.stat().st_size
            padded = -(-size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE + tarfile.BLOCKSIZE
            fits = archive.offset + padded + tarfile.RECORDSIZE <= most
            if fits:
                archive.add(path, f"checkpoint/{path.name}")
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            found.append({"name": path.name, "bytes": size, "sha256": digest, "kept": fits})
    return found


def make_page(result: dict[str, Any]) -> str:
    """The result as Markdown."""
    lines = summary_head(f"Training, preset {result['preset']}", result["facts"])
    lines += [
        "Made by `scripts/gpu_train` from the JSON beside it; nothing in it is typed in.",
        "",
        f"Data: {result['data']}. Settings besides the preset's: {', '.join(result['settings']) or 'none'}.",
        "",
        *_stages_of(result["training"]),
        "",
        *_evaluation(result["evaluation"]),
        *_files(result["checkpoint"]),
        "## Stages",
        "",
        *stage_table(result["facts"]["stages"]),
    ]
    return "\n".join(lines) + "\n"


def _stages_of(training: dict[str, Any]) -> list[str]:
    rows = []
    for name, stage in training.items():
        last = stage["curve"][-1] if stage["curve"] else {}
        done = int(last.get("step", 0))
        ended = "yes" if done == stage["planned_steps"] else f"no: {done} of them, its learning rate had not come down"
        rates = [number(stage["trial_steps_per_second"]), number(stage["steps_per_second"])]
        losses = [number(last.get("loss")), number(last.get("validation_loss"))]
        rows.append([name, stage["planned_steps"], ended, *rates, number(last.get("seconds")), *losses])
    columns = ["stage", "steps planned", "ended", "steps/s, trial", "steps/s", "s", "loss", "validation loss"]
    return table(columns, rows) if rows else ["Nothing was trained."]


def _evaluation(evaluation: dict[str, Any] | None) -> list[str]:
    if evaluation is None:
        return ["Nothing was evaluated.", ""]
    rows = []
    for entry in (*evaluation["known"], {"known": "reconstruction", **evaluation["reconstruction"]}):
        rows.append([entry["known"], *(number(entry["scores"][name]["mean"]) for name in ("psnr", "ssim"))])
    what = f"{evaluation['objects']} objects, {evaluation['solver']}, {evaluation['steps']} steps."
    return ["## Evaluation", "", what, "", *table(["known views", "PSNR, dB", "SSIM"], rows), ""]


def _files(files: list[dict[str, Any]]) -> list[str]:
    if not files:
        return []
    rows = [
        [file["name"], file["bytes"], "yes" if file["kept"] else "no: too large", file["sha256"][:12]] for file in files
    ]
    return ["## Checkpoint", "", *table(["file", "bytes", "in checkpoint.tar", "SHA-256"], rows), ""]
