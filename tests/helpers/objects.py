"""Data that tests write: boxes of one colour, wide in front and back, narrow from the sides; what is in a folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

VIEWS = ("front", "right", "back", "left")
SIZE = 16
SHADES = ("dark", "light")


def coloured_boxes(objects: int, size: int = SIZE) -> np.ndarray:
    """uint8 [N, 4, size, size, 3]; the same for every call."""
    random = np.random.default_rng(0)
    images = np.full((objects, 4, size, size, 3), 255, np.uint8)
    for views in images:
        colour = random.integers(0, 200, 3)
        for view, extent in enumerate([6, 2, 6, 2]):
            middle = size // 2
            views[view, middle - 4 : middle + 4, middle - extent : middle + extent] = colour
    return images


def write_boxes(root: Path, objects: int, split: str = "train", first: int = 0) -> Path:
    """Boxes ``first`` and up as ``<root>/<split>/box/box_<number>/<view>.png``; returns ``root``."""
    for number, views in enumerate(coloured_boxes(first + objects)[first:], first):
        folder = root / split / "box" / f"box_{number:04d}"
        folder.mkdir(parents=True)
        for name, pixels in zip(VIEWS, views, strict=True):
            Image.fromarray(pixels).save(folder / f"{name}.png")
    return root


def write_shades(root: Path, train: int = 6, test: int = 12) -> Path:
    """Dark and light boxes as ``<root>/<split>/<dark or light>/<object>/<view>.png``; returns ``root``."""
    for number, views in enumerate(coloured_boxes(train + test)):
        folder = root / ("train" if number < train else "test") / SHADES[number % 2] / f"object_{number:02d}"
        folder.mkdir(parents=True)
        for name, pixels in zip(VIEWS, views, strict=True):
            Image.fromarray(pixels // 2 + 127 * (number % 2)).save(folder / f"{name}.png")
    return root


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, by name, with its content."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
