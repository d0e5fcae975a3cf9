"""What callers give for views, in any form that Python has of images, as tensors of the model's size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dimvida.data.held_images import fit_held

Picture = Image.Image | np.ndarray | Tensor
Views = Picture | Sequence[Picture] | Sequence[Sequence[Picture]] | Mapping[str, Picture | Sequence[Picture]]
Known = Tensor | np.ndarray | str | Sequence[str]

_TAKEN = (
    "a picture of Pillow, an array [..., H, W, C], a tensor [..., C, H, W], a list of these, or a dict by view name"
)


def gather(
    views: Views, known: Known | None, shape: tuple[int, int, int]
) -> tuple[Tensor, Tensor | str | Sequence[str]]:
    """Views as ``images.arrange`` takes them; a tensor that is so already is returned as it is.

    Args:
        views: As ``MultiViewModel.generate`` has them.
        known: A mask, the name of a view or several; None with a dict, whose keys are the names.
        shape: C, H and W of the model's images.

    Returns:
        uint8 [B, C, H, W] or [B, n, C, H, W], on the device of a tensor, else on the CPU; and a bool tensor or names.

    Raises:
        TypeError: They are no images, or nothing says which views they are.
        ValueError, UnreadableImage: As ``fit_held``, and for lists of different lengths.
    """
    if isinstance(known, np.ndarray):
        known = torch.from_numpy(known)
    if isinstance(views, Mapping):
        if known is not None:
            raise TypeError("views by name say themselves which are known: leave out known")
        return _by_name(views, shape), tuple(views)
    if known is None:
        raise TypeError("known is missing: the name of the view given, several names, or a bool mask [B, V]")
    mask = known if isinstance(known, Tensor) else None
    images = as_images(views, shape, "views", mask)
    several = isinstance(known, Sequence) and not isinstance(known, str) and len(known) > 1
    one_object = several and isinstance(views, Sequence) and images.ndim == 4 and len(images) == len(known)
    return images[None] if one_object else images, known


def as_images(images: Any, shape: tuple[int, int, int], name: str, wanted: Tensor | None = None) -> Tensor:
    """Images in any form as uint8 [..., C, H, W] of ``shape``; of one alone [1, C, H, W].

    Args:
        images: A picture, an array, a tensor, or a list or tuple of these or of such lists.
        shape: C, H and W.
        name: What an error calls them.
        wanted: bool of the leading dimensions; images where it is False are not looked at.

    Raises:
        TypeError, ValueError, UnreadableImage: As ``gather``.
    """
    if isinstance(images, Tensor):
        if images.dtype == torch.uint8 and tuple(images.shape[-3:]) == shape:
            return images if images.ndim > 3 else images[None]
        return _of_array(_channels_last(images, shape, name), shape, name, wanted).to(images.device)
    if isinstance(images, np.ndarray):
        return _of_array(images, shape, name, wanted)
    if isinstance(images, Image.Image):
        return _fitted(images, shape, name)[None]
    if not isinstance(images, Sequence) or isinstance(images, (str, bytes)):
        kind = f"{type(images).__module__}.{type(images).__qualname__}".removeprefix("builtins.")
        raise TypeError(f"{name}: images are {_TAKEN}, not {kind}")
    if not images:
        raise ValueError(f"{name}: an empty list; for no images give a tensor of shape [0, ...]")
    rows = [as_images(image, shape, f"{name}[{place}]") for place, image in enumerate(images)]
    rows = [row[0] if _is_one(image) else row for row, image in zip(rows, images, strict=True)]
    forms = {tuple(row.shape) for row in rows}
    if len(forms) > 1:
        raise ValueError(f"{name}: entries of different lengths, {', '.join(str(len(row)) for row in rows[:8])}")
    return torch.stack([row.cpu() for row in rows])


def _by_name(views: Mapping[str, Any], shape: tuple[int, int, int]) -> Tensor:
    if not views:
        raise ValueError("views: an empty dict; give at least one view by its name")
    columns = [as_images(images, shape, f"views[{name!r}]") for name, images in views.items()]
    counts = {name: len(column) for name, column in zip(views, columns, strict=True)}
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{count} of {name!r}" for name, count in counts.items())
        raise ValueError(f"views: as many images of each view are needed, not {listed}")
    return torch.stack([column.to(columns[0].device) for column in columns], 1)


def _is_one(image: Any) -> bool:
    return isinstance(image, Image.Image) or (isinstance(image, (np.ndarray, Tensor)) and image.ndim <= 3)


def _channels_last(images: Tensor, shape: tuple[int, int, int], name: str) -> np.ndarray:
    if images.ndim > 2 and images.shape[-3] > 4:
        fix = f"; channels come first: {name}.movedim(-1, -3)" if images.shape[-1] in (1, 2, 3, 4) else ""
        listed = ", ".join(map(str, shape))
        raise ValueError(
            f"{name} must be uint8 or float [..., {listed}], or of another height and width, not {images.dtype} "
            f"{list(images.shape)}{fix}"
        )
    images = images.detach()
    images = images.float() if images.dtype == torch.bfloat16 else images
    return (images.movedim(-3, -1) if images.ndim > 2 else images).cpu().numpy()


def _of_array(array: np.ndarray, shape: tuple[int, int, int], name: str, wanted: Tensor | None) -> Tensor:
    if array.ndim <= 3:
        return _fitted(array, shape, name)[None]
    lead = array.shape[:-3]
    made = torch.zeros(*lead, *shape, dtype=torch.uint8, device="cpu")
    look = None if wanted is None or tuple(wanted.shape) != lead else wanted.cpu().numpy()
    for place in np.ndindex(*lead):
        if look is None or look[place]:
            made[place] = _fitted(array[place], shape, f"{name}[{', '.join(map(str, place))}]")
    return made


def _fitted(image: Image.Image | np.ndarray, shape: tuple[int, int, int], name: str) -> Tensor:
    pixels = fit_held(image, name, shape[0], shape[1])
    return torch.from_numpy(np.array(pixels)).permute(2, 0, 1)
