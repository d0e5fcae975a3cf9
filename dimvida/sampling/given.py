"""What callers give for views, in any form that Python has of images, as tensors of the model's size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageFile
from torch import Tensor

from dimvida.data.conversion import composite_on_white, stored_numbers, to_rgb
from dimvida.data.images import (
    BYTE_LIMIT,
    PIXEL_LIMIT,
    decode_image,
    is_decoded,
    resize_image,
    upright,
    with_channels,
)
from dimvida.data.source import ViewImage
from dimvida.errors import UnreadableImage

Picture = Image.Image | np.ndarray | Tensor
Views = Picture | Sequence[Picture] | Sequence[Sequence[Picture]] | Mapping[str, Picture | Sequence[Picture]]
KnownViews = Tensor | np.ndarray | str | Sequence[str]

_TAKEN = (
    "a picture of Pillow, an array [..., H, W, C], a tensor [..., C, H, W], a list of these, or a dict by view name"
)


def gather(
    views: Views, known: KnownViews | None, shape: tuple[int, int, int]
) -> tuple[Tensor, Tensor | str | Sequence[str]]:
    """Views as ``images.arrange`` takes them; a tensor that is so already is returned as it is.

    Args:
        views: Views in any form that ``MultiViewModel.generate`` takes.
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
        name: What an error calls the images.
        wanted: bool of the leading dimensions; images where it is False are not looked at.

    Raises:
        TypeError, ValueError, UnreadableImage: The images cannot be read, or have another form or shape.
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


def fit_held(image: Image.Image | np.ndarray, name: str, channels: int, size: int) -> np.ndarray:
    """An image as every command fits one to a model: colours converted, padded to a square, resized.

    Args:
        image: A picture of Pillow; or an array [H, W] or [H, W, C] of 1 to 4 channels (gray, gray and alpha, RGB, RGB
            and alpha): uint8, uint16, bool, or float in [0, 1], which is rounded to 8 bits.
        name: What an error calls the image.
        channels: 3 for RGB, 1 for gray.
        size: Edge in pixels.

    Returns:
        uint8 [size, size, channels].

    Raises:
        ValueError: An array of another shape, type or range.
        UnreadableImage: A damaged picture, one without a known range of its pixels, or a larger one than files may be.
    """
    pixels = _of_picture(image, name) if isinstance(image, Image.Image) else _of_numbers(image, name)
    return resize_image(with_channels(ViewImage(pixels, ""), channels).pixels, size)


def _of_picture(image: Image.Image, name: str) -> np.ndarray:
    stored = _stored(image)
    if stored is not None:
        return decode_image(stored, name).pixels
    _require_size(name, *image.size)
    try:
        image.load()
        # Of what was loaded, Pillow still knows all but the depth that a PNG had below its own modes'.
        return to_rgb(upright(image, []), stored_numbers(image, None, name), [])
    except (UnreadableImage, MemoryError):
        raise
    except Exception as error:  # a damaged file makes the decoders raise almost anything
        raise UnreadableImage(name, f"damaged or truncated image ({error})") from error


def _stored(image: Image.Image) -> bytes | None:
    """The file that an opened picture is still to be loaded from, if commands read its format; None of others."""
    if not (isinstance(image, ImageFile.ImageFile) and is_decoded(image) and image.tile and image.tell() == 0):
        return None
    file = image.fp
    if file is None or getattr(file, "closed", True):
        return None
    place = file.tell()
    file.seek(0)
    data = file.read(BYTE_LIMIT + 1)
    file.seek(place)
    return data


def _of_numbers(array: np.ndarray, name: str) -> np.ndarray:
    pixels = array[..., None] if array.ndim == 2 else array
    if pixels.ndim != 3 or pixels.shape[2] not in (1, 2, 3, 4) or 0 in pixels.shape:
        hint = "; channels come last in an array, first in a tensor" if array.ndim == 3 else ""
        raise ValueError(
            f"{name}: an array must be [H, W] or [H, W, 1 to 4], not {array.dtype} {list(array.shape)}{hint}"
        )
    _require_size(name, pixels.shape[1], pixels.shape[0])
    pixels = _to_bytes(pixels, name)
    if pixels.shape[2] in (1, 3):
        return np.ascontiguousarray(pixels)
    colours = pixels if pixels.shape[2] == 4 else pixels[..., [0, 0, 0, 1]]
    return composite_on_white(np.ascontiguousarray(colours))


def _to_bytes(pixels: np.ndarray, name: str) -> np.ndarray:
    """The numbers in 8 bits, as files are read: gray of 16 bits is rounded, of colours the upper half is taken."""
    if pixels.dtype == np.uint8:
        return pixels
    if pixels.dtype == np.bool_:
        return pixels.astype(np.uint8) * 255
    if pixels.dtype.kind == "u" and pixels.dtype.itemsize == 2:
        if pixels.shape[2] > 1:
            return (pixels >> 8).astype(np.uint8)
        return ((pixels.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)
    if pixels.dtype.kind != "f":
        raise ValueError(f"{name}: images are uint8, uint16, bool or float in [0, 1], not {pixels.dtype}")
    low, high = float(pixels.min()), float(pixels.max())
    if not (low >= 0 and high <= 1):  # nor NaN
        raise ValueError(f"{name}: float images are in [0, 1]; these go from {low:g} to {high:g}")
    return np.rint(pixels.astype(np.float64) * 255).astype(np.uint8)


def _require_size(name: str, width: int, height: int) -> None:
    if width * height > PIXEL_LIMIT:
        raise UnreadableImage(name, f"{width} x {height} pixels, more than the limit of {PIXEL_LIMIT}")
