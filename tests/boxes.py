"""Objects that train in seconds: boxes of one colour, wide in front and back, narrow from the sides."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

VIEWS = ("front", "right", "back", "left")
SIZE = 16

# The preset "tiny" at a size at which a whole training takes a few seconds.
FAST = (
    f"autoencoder.image_size={SIZE}",
    "autoencoder.latent_dim=8",
    "autoencoder.base=8",
    "score.width=32",
    "score.time_dim=16",
    "score.groups=4",
    "autoencoder_stage.steps=60",
    "autoencoder_stage.batch=16",
    "autoencoder_stage.log_every=10",
    "autoencoder_stage.save_every=25",
    "autoencoder_stage.sheet_every=0",
    "diffusion_stage.steps=120",
    "diffusion_stage.batch=16",
    "diffusion_stage.log_every=10",
    "diffusion_stage.save_every=50",
    "diffusion_stage.sheet_every=0",
)


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
