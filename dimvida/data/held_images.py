"""Images that Python holds, pictures of Pillow and arrays: the pixels that files of the same content give."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageFile

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


def fit_held(image: Image.Image | np.ndarray, name: str, channels: int, size: int) -> np.ndarray:
    """An image as every command fits one to a model: colours converted, padded to a square, resized.

    Args:
        image: A picture of Pillow; or an array [H, W] or [H, W, C] of 1 to 4 channels (gray, gray and alpha, RGB, RGB
            and alpha): uint8, uint16, bool, or float in [0, 1], which is rounded to 8 bits.
        name: What an error calls it.
        channels: 3 for RGB, 1 for gray.
        size: Edge in pixels.

    Returns:
        uint8 [size, size, channels].

    Raises:
        ValueError: An array of another shape, type or range.
        UnreadableImage: A damaged picture, one without a known range of its pixels, or a larger one than files may be.
    """
    pixels = _of_picture(image, name) if isinstance(image, Image.Image) else _of_array(image, name)
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


def _of_array(array: np.ndarray, name: str) -> np.ndarray:
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
