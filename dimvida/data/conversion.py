"""Decoded pictures to 8-bit RGB: what their stored numbers mean, where Pillow leaves that open.

Pillow hands over 12 and 16 bits as they are stored, and compares colour keys after it has rescaled the
pixels that they belong to; here numbers are scaled by their own range and keys compared as stored.
"""

from __future__ import annotations

from io import BytesIO
from typing import NamedTuple

import numpy as np
from PIL import Image, PngImagePlugin, TiffImagePlugin

from dimvida.errors import UnreadableImage

ALPHA_NOTE = "transparency composited on white"
GRAY_NOTE = "colour converted to grayscale"
FROM_GRAY_NOTE = "grayscale converted to RGB"

_CONVERSIONS = {
    "1": "1-bit converted to RGB",
    "L": FROM_GRAY_NOTE,
    "LA": FROM_GRAY_NOTE,
    "La": FROM_GRAY_NOTE,
    "P": "palette converted to RGB",
    "PA": "palette converted to RGB",
    "CMYK": "CMYK converted to RGB",
    "YCbCr": "YCbCr converted to RGB",
    "LAB": "CIELAB converted to RGB",
    "HSV": "HSV converted to RGB",
}
_PIXELS_AT_ONCE = 1 << 20

# Pillow knows these kinds of gray TIFF in the other byte order or with black as zero only.
_MORE_TIFFS = {
    (b"MM", 0, 16): ("I;16B", "I;16B"),
    **{(order, zero, 12): ("I;16", "I;12") for order in (b"II", b"MM") for zero in (0, 1)},
}
for (_order, _zero, _bits), _modes in _MORE_TIFFS.items():
    TiffImagePlugin.OPEN_INFO.setdefault((_order, _zero, (1,), 1, (_bits,), ()), _modes)


class StoredNumbers(NamedTuple):
    """How a file stores its pixels.

    Attributes:
        bits: Bits of each channel.
        white_is_zero: Whether the numbers of a gray picture count down from white, which Pillow heeds up to 8 bits.
    """

    bits: int
    white_is_zero: bool


def to_rgb(image: Image.Image, numbers: StoredNumbers, notes: list[str]) -> np.ndarray:
    """Pixels of a loaded picture as uint8 ``[H, W, 3]``, writeable, with transparency composited on white.

    Args:
        image: Upright; its ``info`` may hold a colour key that is transparent.
        numbers: What the file's numbers mean; see :func:`stored_numbers`.
        notes: Gets what was converted.
    """
    if image.mode.startswith("I"):
        return _from_deep_gray(image, numbers, notes)
    if numbers.bits > 8:
        notes.append("16-bit channels reduced to 8 bits")
    if image.mode in _CONVERSIONS:
        notes.append(_CONVERSIONS[image.mode])
    key = image.info.get("transparency")
    if image.mode in ("1", "L", "RGB") and key is not None:
        notes.append(ALPHA_NOTE)
        return _without_key(image, numbers.bits, key)
    if image.mode in ("RGBA", "RGBa", "LA", "La", "PA") or key is not None:
        notes.append(ALPHA_NOTE)
        return composite_on_white(np.asarray(_straight(image).convert("RGBA")))
    # A copy, because Pillow lends its pixels read-only.
    return np.array(image if image.mode == "RGB" else image.convert("RGB"))


def composite_on_white(rgba: np.ndarray) -> np.ndarray:
    """Straight-alpha uint8 ``[..., 4]`` over white, rounded: uint8 ``[..., 3]``."""
    flat = rgba.reshape(-1, 4)
    result = np.empty((len(flat), 3), np.uint8)
    # In parts, because the products take several times the memory of the picture.
    for start in range(0, len(flat), _PIXELS_AT_ONCE):
        part = slice(start, start + _PIXELS_AT_ONCE)
        rgb, alpha = flat[part, :3].astype(np.uint16), flat[part, 3:].astype(np.uint16)
        # At most 255 * 255 + 127, which still fits 16 bits.
        result[part] = (rgb * alpha + 255 * (255 - alpha) + 127) // 255
    return result.reshape(*rgba.shape[:-1], 3)


def key_to_alpha(image: Image.Image, data: bytes) -> None:
    """Give a loaded PNG of 16-bit RGB with a transparent colour an alpha channel instead, in place.

    Pillow keeps the upper halves of such numbers only, and other colours may share those with the key.
    """
    key = image.info.pop("transparency")
    lower = PngImagePlugin.PngImageFile(BytesIO(data))
    lower.tile = [tile._replace(args="RGB;16L") for tile in lower.tile]  # the lower bytes are the second ones
    lower.load()
    same = (np.asarray(image) == [value >> 8 for value in key]).all(axis=2)
    same &= (np.asarray(lower) == [value & 255 for value in key]).all(axis=2)
    image.putalpha(Image.fromarray(np.where(same, np.uint8(0), np.uint8(255))))


def stored_numbers(image: Image.Image, data: bytes | None, location: str) -> StoredNumbers:
    """What the numbers in the opened file ``data`` mean; None where there is no file any more.

    Raises:
        UnreadableImage: Floating-point, signed or 32-bit numbers, whose range from black to white is unknown.
    """
    kind = None
    if image.format == "TIFF" and 2 in image.tag_v2.get(TiffImagePlugin.SAMPLEFORMAT, ()):
        kind = "signed integer"
    elif image.mode == "F":
        kind = "floating-point"
    elif image.mode == "I" and image.format not in ("PNG", "PPM"):  # these two have 16 bits in it
        kind = "32-bit integer"
    if kind is not None:
        raise UnreadableImage(location, f"{kind} pixels have no known range; save it with 8 or 16 bits")
    if image.format == "PNG" and data is not None:
        return StoredNumbers(data[24], False)  # the bit depth in IHDR
    if image.format == "TIFF":
        white_is_zero = image.tag_v2.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION, 0) == 0
        return StoredNumbers(max(image.tag_v2.get(TiffImagePlugin.BITSPERSAMPLE, (1,))), white_is_zero)
    return StoredNumbers(16 if image.mode.startswith("I") else 8, False)


def _from_deep_gray(image: Image.Image, numbers: StoredNumbers, notes: list[str]) -> np.ndarray:
    notes.append(f"{numbers.bits}-bit grayscale scaled to 8-bit RGB")
    stored, most = np.asarray(image), (1 << numbers.bits) - 1
    table = ((np.arange(most + 1, dtype=np.uint32) * 255 + most // 2) // most).astype(np.uint8)
    if numbers.white_is_zero:
        table = table[::-1]
    key = image.info.get("transparency")
    if key is not None:
        notes.append(ALPHA_NOTE)
        table[key] = 255
    # "clip" for damaged numbers beyond the range, which 12 bits in 16 may hold.
    return np.repeat(np.take(table, stored, mode="clip")[..., None], 3, axis=2)


def _without_key(image: Image.Image, bits: int, key: int | tuple[int, int, int]) -> np.ndarray:
    """RGB with the pixels of one colour white; ``key`` is in the numbers of the file."""
    most = (1 << bits) - 1
    if image.mode == "1":
        return np.array(image.convert("RGB")) if key & 255 else np.full((*image.size[::-1], 3), 255, np.uint8)
    pixels = np.array(image.convert("RGB"))
    if isinstance(key, tuple):
        same = (pixels == [value & most for value in key]).all(axis=2)
    else:
        same = np.asarray(image) == (key & most) * 255 // most
    pixels[same] = 255
    return pixels


def _straight(image: Image.Image) -> Image.Image:
    # Pillow converts premultiplied alpha only to its own straight counterpart.
    counterpart = {"La": "LA", "RGBa": "RGBA"}.get(image.mode)
    return image.convert(counterpart) if counterpart else image
