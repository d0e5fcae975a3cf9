"""Dark and light boxes that ``dimvida classify`` takes seconds for, and how it is called on them."""

from __future__ import annotations

from pathlib import Path

from boxes import VIEWS, coloured_boxes
from PIL import Image

CLASSES = ("dark", "light")

# The quickest study that has everything.
QUICK = (
    *("--preset", "tiny", "--classifiers", "mobilenet-v3-small", "--seeds", "2"),
    *("--set", "classifier_stage.steps=4", "--set", "classifier_stage.batch=4", "--set", "validation=0.25"),
    *("--set", "classifier_stage.save_every=2", "--set", "classifier_stage.warmup_steps=0"),
)


def write_shades(root: Path, train: int = 6, test: int = 12) -> Path:
    """``<root>/<split>/<dark or light>/<object>/<view>.png``; returns ``root``."""
    for number, views in enumerate(coloured_boxes(train + test)):
        folder = root / ("train" if number < train else "test") / CLASSES[number % 2] / f"object_{number:02d}"
        folder.mkdir(parents=True)
        for name, pixels in zip(VIEWS, views, strict=True):
            Image.fromarray(pixels // 2 + 127 * (number % 2)).save(folder / f"{name}.png")
    return root


def study(data: Path, out: Path, checkpoint: Path, *arguments: str) -> list[str]:
    """A command line; arguments replace the quick ones."""
    start = ["classify", "--data", data, "--out", out, "--checkpoint", checkpoint, *QUICK, *arguments]
    return [str(argument) for argument in start]
