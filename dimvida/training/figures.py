"""What people look at while networks train: learning curves, sheets of held-out objects, and TensorBoard's copies."""

from __future__ import annotations

import csv
import importlib.util
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dimvida.data.contact_sheet import SheetRow, draw_contact_sheet
from dimvida.data.sheets import compared_rows, view_tiles
from dimvida.errors import InputError
from dimvida.files import atomic_path, atomic_write
from dimvida.models.autoencoder import Autoencoder
from dimvida.sampling.multiview import MultiViewModel
from dimvida.training.state import CurvePoint


@torch.no_grad()
def reconstruction_sheet(
    path: Path,
    autoencoder: Autoencoder,
    images: Tensor,
    present: Tensor,
    names: tuple[str, ...],
    objects: Sequence[str],
) -> None:
    """Each held-out object's views and, below, their reconstructions.

    Args:
        path: The PNG file to write.
        autoencoder: The autoencoder that reconstructs the views.
        images: uint8 [N, V, C, H, W].
        present: The views that are there, bool [N, V].
        names: Names of the V views.
        objects: Names of the N objects.
    """
    device = next(autoencoder.parameters()).device
    flat = images.flatten(0, 1).to(device).float() / 255
    outputs = (autoencoder(flat).clamp(0, 1) * 255).round().to(torch.uint8).cpu().unflatten(0, images.shape[:2])
    rows = []
    for name, views, reconstructed, there in zip(objects, images, outputs, present, strict=True):
        rows.append(SheetRow(name, view_tiles(views, names, "true", there)))
        rows.append(SheetRow("reconstructed", view_tiles(reconstructed, names, "generated", there)))
    _save(path, rows, "Reconstruction of held-out objects")


def completion_sheet(
    path: Path, model: MultiViewModel, images: Tensor, present: Tensor, objects: Sequence[str]
) -> None:
    """Held-out objects completed from the first view that each of them has; arguments as above."""
    views = torch.arange(images.shape[1])
    known = views == present.int().argmax(1, keepdim=True)  # [N, V], the first that is there
    outputs = model.generate(images, known)
    names = model.view_names
    rows = []
    for name, truth, completed, there, given in zip(objects, images, outputs, present, known, strict=True):
        tiles = view_tiles(completed, names, ["given" if view else "generated" for view in given])
        true = view_tiles(truth, names, "true", there)
        rows += compared_rows(name, tiles, [None if view else tile for view, tile in zip(given, true, strict=True)])
    first = {names[view] for view in known.int().argmax(1).tolist()}
    given_views = f"the {first.pop()} view" if len(first) == 1 else "one view"
    _save(path, rows, f"Held-out objects completed from {given_views}")


def _save(path: Path, rows: list[SheetRow], header: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        draw_contact_sheet(rows, header=header).save(temporary)


def write_csv(path: Path, curve: Sequence[CurvePoint]) -> None:
    """Columns: step, epoch, loss, lr, seconds and one per validation figure."""
    figures = list(curve[0].validation) if curve else []
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["step", "epoch", "loss", "lr", "seconds", *(f"validation_{name}" for name in figures)])
    for p in curve:
        row = [p.step, f"{p.epoch:.4f}", repr(p.loss), f"{p.lr:.6g}", f"{p.seconds:.1f}"]
        writer.writerow(row + [repr(p.validation[name]) for name in figures])
    atomic_write(path, text.getvalue())


def plot_curves(path: Path, curves: Mapping[str, Sequence[CurvePoint]]) -> None:
    """One panel per stage, training and validation loss against steps, logarithmic; nothing without a point."""
    from matplotlib.figure import Figure  # slow to import, and only training needs it

    shown = {name: curve for name, curve in curves.items() if curve}
    if not shown:
        return
    width, height = 6 * len(shown), 4  # inches
    figure = Figure(figsize=(width, height))
    # Margins that fit, given rather than found: that would draw everything once more.
    figure.subplots_adjust(1 / width, 0.6 / height, 1 - 0.15 / width, 1 - 0.4 / height, wspace=0.25)
    for axes, (name, curve) in zip(figure.subplots(1, len(shown), squeeze=False)[0], shown.items(), strict=True):
        steps = [point.step for point in curve]
        axes.plot(steps, [point.loss for point in curve], label="training", linewidth=1)
        axes.plot(steps, [point.validation["loss"] for point in curve], label="validation (EMA)")
        axes.set(title=name, xlabel="step", ylabel="loss", yscale="log")
        axes.grid(alpha=0.3, which="both")
        axes.legend()
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=120)


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
