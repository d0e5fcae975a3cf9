"""Sample sheets: what the networks make of held-out objects while they train."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from dimvida.data.contact_sheet import SheetRow, Tile, draw_contact_sheet
from dimvida.data.sheets import compared_rows
from dimvida.files import atomic_path
from dimvida.models.autoencoder import Autoencoder
from dimvida.sampling.multiview import MultiViewModel


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
        path: Where to.
        autoencoder: Reconstructs them.
        images: uint8 [N, V, C, H, W].
        present: The views that are there, bool [N, V].
        names: Of the views.
        objects: Names of the N objects.
    """
    device = next(autoencoder.parameters()).device
    flat = images.flatten(0, 1).to(device).float() / 255
    outputs = (autoencoder(flat).clamp(0, 1) * 255).round().to(torch.uint8).cpu().unflatten(0, images.shape[:2])
    rows = []
    for name, views, reconstructed, there in zip(objects, images, outputs, present, strict=True):
        rows.append(SheetRow(name, _tiles(views, names, "true", there)))
        rows.append(SheetRow("reconstructed", _tiles(reconstructed, names, "generated", there)))
    _save(path, rows, "Reconstruction of held-out objects")


def completion_sheet(
    path: Path, model: MultiViewModel, images: Tensor, present: Tensor, objects: Sequence[str], seed: int = 0
) -> None:
    """Held-out objects completed from the first view that each of them has; arguments as above."""
    views = torch.arange(images.shape[1])
    known = views == present.int().argmax(1, keepdim=True)  # [N, V], the first that is there
    outputs = model.generate(images, known, seed=seed)
    names = model.view_names
    rows = []
    for name, truth, completed, there, given in zip(objects, images, outputs, present, known, strict=True):
        view = int(given.int().argmax())
        tiles = _tiles(completed, names, "generated")
        tiles[view] = Tile(_pixels(truth[view]), names[view], "given")
        true: list[Tile | None] = [*_tiles(truth, names, "true", there)]
        true[view] = None
        rows += compared_rows(name, tiles, true)
    first = {names[view] for view in known.int().argmax(1).tolist()}
    given_views = f"the {first.pop()} view" if len(first) == 1 else "one view"
    _save(path, rows, f"Held-out objects completed from {given_views}")


def _tiles(views: Tensor, names: tuple[str, ...], kind: str, present: Tensor | None = None) -> list[Tile]:
    there = [True] * len(names) if present is None else present.tolist()
    return [
        Tile(_pixels(view), name, kind) if shown else Tile(None, name, "missing")
        for view, name, shown in zip(views, names, there, strict=True)
    ]


def _pixels(image: Tensor):
    return image.permute(1, 2, 0).numpy()


def _save(path: Path, rows: list[SheetRow], header: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        draw_contact_sheet(rows, header=header).save(temporary)
