"""Learning curves and sample sheets for TensorBoard, which is an extra."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
from PIL import Image

from dimvida.errors import InputError
from dimvida.training.stage import CurvePoint


def require_tensorboard() -> None:
    """Raise InputError unless TensorBoard is installed."""
    if importlib.util.find_spec("tensorboard") is None:
        raise InputError("--tensorboard: tensorboard is not installed; pip install 'dimvida[tracking]'")


class Board:
    """Writes one stage's events.

    Args:
        folder: The run's; each stage has a folder of its own in it.
        stage: Name of the stage.
        step: Where the stage goes on. Events of later steps, which a killed process left, are hidden.
    """

    def __init__(self, folder: Path, stage: str, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._stage = stage
        self._writer = SummaryWriter(str(folder / stage), purge_step=step + 1)

    def point(self, point: CurvePoint) -> None:
        """A point of the learning curve."""
        figures = {"loss": point.loss, "lr": point.lr}
        figures |= {f"validation/{name}": value for name, value in point.validation.items()}
        for name, value in figures.items():
            self._writer.add_scalar(f"{self._stage}/{name}", value, point.step)
        self._writer.flush()

    def sheet(self, path: Path, step: int) -> None:
        """A sample sheet, from its file."""
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB"))
        self._writer.add_image(f"{self._stage}/samples", pixels, step, dataformats="HWC")
        self._writer.flush()
