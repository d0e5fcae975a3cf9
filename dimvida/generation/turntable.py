"""A turn around one object: its known views read from files, an animation, and a strip of all views."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dimvida.data.contact_sheet import SheetRow, Tile, draw_contact_sheet
from dimvida.data.images import decode_image, resize_image, to_picture, with_channels
from dimvida.errors import InputError, UnreadableImage
from dimvida.files import atomic_path
from dimvida.generation.read import BACKGROUND_NOTE, LIKENESS_NOTE
from dimvida.sampling.multiview import MultiViewModel

ANIMATIONS = (".gif", ".webp")
EDGE = 256
"""Pixels of a frame's edge, about: small pictures are enlarged by a whole factor."""
COLUMNS = 12
"""Most views in a row of the strip."""


def read_known(paths: Sequence[Path], model: MultiViewModel) -> tuple[Tensor, list[str]]:
    """Images of one object as a model takes them.

    Returns:
        uint8 [k, C, H, W], and notes on how they were converted and whether the model knows images of their kind.

    Raises:
        InputError: One cannot be read.
    """
    pixels, notes = [], []
    for path in paths:
        try:
            image = with_channels(decode_image(path.read_bytes(), str(path)), model.channels)
        except UnreadableImage as error:
            raise InputError(f"{error.location}: {error.reason}") from error
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
        if image.note is not None:
            notes.append(f"{path}: {image.note}")
        pixels.append(resize_image(image.pixels, model.image_size))
    images = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).contiguous()
    inputs = model.config.inputs
    if inputs is not None:
        foreign, unlike = (
            inputs.foreign_border(images),
            inputs.badly_reconstructed(images, model.decode(model.encode(images))),
        )
        for path, background, likeness in zip(paths, foreign.tolist(), unlike.tolist(), strict=True):
            notes += [
                f"{path}: {text}" for text, true in ((BACKGROUND_NOTE, background), (LIKENESS_NOTE, likeness)) if true
            ]
    return images, notes


def write_animation(path: Path, views: Tensor, seconds: float) -> None:
    """An endless turn as a GIF or a WebP, by the suffix, written whole or not at all.

    Args:
        path: The file to write.
        views: uint8 [N, C, H, W].
        seconds: Duration of one turn; each view is shown equally long.

    Raises:
        InputError: The place cannot be written.
    """
    frames = [_enlarged(view) for view in _pixels(views)]
    options = {"save_all": True, "append_images": frames[1:], "duration": max(20, round(1000 * seconds / len(frames)))}
    try:
        with atomic_path(path) as temporary:
            if path.suffix.lower() == ".gif":
                frames[0].save(temporary, format="GIF", loop=0, disposal=1, optimize=False, **options)
            else:
                frames[0].save(temporary, format="WEBP", loop=0, quality=90, method=4, **options)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error})") from error


def draw_strip(
    known: Tensor, views: Tensor, places: Sequence[int | None], azimuths: Sequence[float], header: str
) -> Image.Image:
    """All views of a turn in rows of a dozen, each with its azimuth; those that were given are marked.

    Args:
        known: The given views, uint8 [k, C, H, W]; those that are not in the turn come first.
        views: The turn, uint8 [N, C, H, W].
        places: For each view of the turn, which of the given ones it is, or None.
        azimuths: Of each view of the turn, in degrees.
        header: A line of text above the rows.
    """
    tiles = [Tile(image, "", "given") for place, image in enumerate(_pixels(known)) if place not in places] + [
        Tile(image, f"{azimuth:g}\N{DEGREE SIGN}", "generated" if place is None else "given")
        for image, azimuth, place in zip(_pixels(views), azimuths, places, strict=True)
    ]
    rows = [SheetRow("", tiles[start : start + COLUMNS]) for start in range(0, len(tiles), COLUMNS)]
    return draw_contact_sheet(rows, header=header)


def _pixels(images: Tensor) -> np.ndarray:
    """uint8 [N, C, H, W] as [N, H, W, C] on the host."""
    return images.permute(0, 2, 3, 1).cpu().numpy()


def _enlarged(pixels: np.ndarray) -> Image.Image:
    picture = to_picture(pixels)
    edge = pixels.shape[0]
    edge *= max(1, EDGE // edge)
    return picture if edge == picture.width else picture.resize((edge, edge), Image.Resampling.LANCZOS)
