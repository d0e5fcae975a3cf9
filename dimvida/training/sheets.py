"""Sample sheets: what the networks make of held-out objects while they train."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from dimvida.data.contact_sheet import SheetRow, Tile, draw_contact_sheet
from dimvida.files import atomic_path
from dimvida.models.autoencoder import Autoencoder
from dimvida.sampling.multiview import MultiViewModel


@torch.no_grad()
def reconstruction_sheet(path: Path, autoencoder: Autoencoder, images: Tensor, names: tuple[str, ...]) -> None:
    """Each held-out object's views and, below, their reconstructions; images uint8 [N, V, C, H, W]."""
    device = next(autoencoder.parameters()).device
    flat = images.flatten(0, 1).to(device).float() / 255
    outputs = (autoencoder(flat).clamp(0, 1) * 255).round().to(torch.uint8).cpu().unflatten(0, images.shape[:2])
    rows = []
    for number, (views, reconstructed) in enumerate(zip(images, outputs, strict=True)):
        rows.append(SheetRow(f"object {number}", _tiles(views, names, "true")))
        rows.append(SheetRow("reconstructed", _tiles(reconstructed, names, "generated")))
    _save(path, rows, "Reconstruction of held-out objects")


def completion_sheet(path: Path, model: MultiViewModel, images: Tensor, known_view: int = 0, seed: int = 0) -> None:
    """Held-out objects completed from one view; images uint8 [N, V, C, H, W]."""
    known = torch.zeros(images.shape[:2], dtype=torch.bool)
    known[:, known_view] = True
    outputs = model.generate(images, known, seed=seed)
    names = model.view_names
    rows = []
    for number, (truth, completed) in enumerate(zip(images, outputs, strict=True)):
        tiles = _tiles(completed, names, "generated")
        tiles[known_view] = Tile(_pixels(truth[known_view]), names[known_view], "given")
        others = [view for view in range(len(names)) if view != known_view]
        tiles += [Tile(_pixels(truth[view]), names[view], "true") for view in others]
        rows.append(SheetRow(f"object {number}", tiles))
    _save(path, rows, f"Held-out objects completed from the {names[known_view]} view")


def _tiles(views: Tensor, names: tuple[str, ...], kind: str) -> list[Tile]:
    return [Tile(_pixels(view), name, kind) for view, name in zip(views, names, strict=True)]


def _pixels(image: Tensor):
    return image.permute(1, 2, 0).numpy()


def _save(path: Path, rows: list[SheetRow], header: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        draw_contact_sheet(rows, header=header).save(temporary)
