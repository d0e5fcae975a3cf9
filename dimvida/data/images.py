"""Image files to pixels, with everything a camera roll or a hostile archive may hold.

A file is decoded by its first bytes alone, whatever its name. Only the formats of ``_DECODERS`` are decoded: each
further decoder is more surface for damaged and hostile files.
"""

from __future__ import annotations

import hashlib
import warnings
from dataclasses import replace
from io import BytesIO

import numpy as np
from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    ImageOps,
    Jpeg2KImagePlugin,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
    features,
)

from dimvida.data.conversion import FROM_GRAY_NOTE, GRAY_NOTE, key_to_alpha, stored_numbers, to_rgb
from dimvida.data.image_files import PNG_SIGNATURE, choose_frame, image_format, mend_tiff, without_text
from dimvida.data.source import ViewImage
from dimvida.errors import UnreadableImage

# What Pillow warns of, damaged metadata for the most part, names no file; what matters is raised.
warnings.filterwarnings("ignore", module=r"PIL\.")

PIXEL_LIMIT = 64_000_000
"""Most pixels in one image; larger ones are refused from the header, before they are decoded."""

BYTE_LIMIT = 256 * 2**20
"""Most bytes in one image file."""

CHANNELS = (1, 3)
"""Channels that images can have: gray or RGB."""

_LANCZOS, _GAP = Image.Resampling.LANCZOS, 3.0

# The plugins are called directly: PIL.Image.open would try every format it knows, and would warn
# on standard error about sizes that PIXEL_LIMIT refuses anyway.
_DECODERS: dict[str, type[ImageFile.ImageFile]] = {
    "PNG": PngImagePlugin.PngImageFile,
    "JPEG": JpegImagePlugin.JpegImageFile,
    "WebP": WebPImagePlugin.WebPImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
    "GIF": GifImagePlugin.GifImageFile,
    "TIFF": TiffImagePlugin.TiffImageFile,
    "PNM": PpmImagePlugin.PpmImageFile,
}
if features.check("jpg_2000"):
    _DECODERS["JPEG 2000"] = Jpeg2KImagePlugin.Jpeg2KImageFile
if features.check("avif"):
    from PIL import AvifImagePlugin

    _DECODERS["AVIF"] = AvifImagePlugin.AvifImageFile


def decode_image(data: bytes, location: str) -> ViewImage:
    """Decode an image file into RGB.

    Grayscale, palette, 1-bit, 16-bit and CMYK images are converted, transparency is composited on
    white, of several frames the largest that is no thumbnail is taken, and the first of equal ones, each with a
    note; EXIF orientation is applied.

    Args:
        data: The bytes of the whole image file.
        location: Path or URL that an error names.

    Raises:
        UnreadableImage: Not an image, truncated or damaged, or larger than ``PIXEL_LIMIT`` or ``BYTE_LIMIT``.
    """
    if len(data) > BYTE_LIMIT:
        raise UnreadableImage(location, f"{len(data)} bytes, more than the limit of {BYTE_LIMIT}")
    notes: list[str] = []
    try:
        stored = without_text(data) if data.startswith(PNG_SIGNATURE) else data
        image = _open(stored, location)
        frame = choose_frame(image, location)
        if frame is not None:
            notes.append(f"{frame} frame of several used")
            _check_size(image, location)
        numbers = stored_numbers(image, stored, location)
        mend_tiff(image)
        image.load()
        if numbers.bits == 16 and image.mode == "RGB" and "transparency" in image.info:
            key_to_alpha(image, stored)
        pixels = to_rgb(upright(image, notes), numbers, notes)
    except (UnreadableImage, MemoryError):
        raise
    except Exception as error:
        # A damaged file makes the decoders raise almost anything: OSError, SyntaxError, struct.error,
        # zlib.error, KeyError... All of them mean the same to the caller.
        reason = "unsupported kind of" if str(error) == "unknown pixel mode" else "damaged or truncated"
        raise UnreadableImage(location, f"{reason} image ({error})") from error
    return ViewImage(pixels, hashlib.sha256(data).hexdigest(), "; ".join(notes) or None)


def resize_image(pixels: np.ndarray, size: int) -> np.ndarray:
    """Fit an image into ``size`` x ``size``: padded to a square, then resized with antialiasing.

    The padding has the median colour of the image's outermost pixels, which is the background's in
    a picture of one object; the aspect ratio stays.

    Args:
        pixels: uint8 ``[H, W, C]``, gray or RGB.
        size: Edge in pixels.

    Returns:
        uint8 ``[size, size, C]``; the input itself if it has that size.
    """
    height, width = pixels.shape[:2]
    edge = max(height, width)
    if height == width == size:
        return pixels
    if edge * edge <= PIXEL_LIMIT:
        # reducing_gap takes most of a large reduction in cheap whole steps before the exact one.
        image = to_picture(pad_to_square(pixels)).resize((size, size), _LANCZOS, reducing_gap=_GAP)
    else:
        # The same steps, the whole ones taken before there is a square: that of a strip would not fit anywhere.
        step = max(1, int(edge / size / _GAP))
        image = to_picture(reduced_square(pixels, step))
        image = image.resize((size, size), _LANCZOS, box=(0, 0, edge / step, edge / step))
    return np.asarray(image).reshape(size, size, -1)


def pad_to_square(pixels: np.ndarray) -> np.ndarray:
    """Centre ``[H, W, C]`` in a square of its longer edge, filled with its border's median colour."""
    height, width = pixels.shape[:2]
    if height == width:
        return pixels
    edge = max(height, width)
    square = np.empty((edge, edge, pixels.shape[2]), np.uint8)
    square[:] = _border_colour(pixels)
    top, left = (edge - height) // 2, (edge - width) // 2
    square[top : top + height, left : left + width] = pixels
    return square


def reduced_square(pixels: np.ndarray, step: int) -> np.ndarray:
    """Means of ``pad_to_square(pixels)`` over blocks of ``step`` x ``step``, without making that square."""
    edge = max(pixels.shape[:2])
    sizes = np.minimum(step, edge - np.arange(0, edge, step))  # of the blocks along each axis; the last is smaller
    sums, inside, places = pixels, [], []
    for axis in sorted((0, 1), key=lambda axis: -pixels.shape[axis]):  # the longer first: less is left of it
        length = pixels.shape[axis]
        offset = (edge - length) // 2
        first, last = offset // step, (offset + length - 1) // step
        starts = np.maximum(np.arange(first, last + 1) * step - offset, 0)
        # Part by part: np.add.reduceat would first take 8 bytes for each number.
        parts = np.split(sums, starts[1:], axis=axis)
        sums = np.stack([part.sum(axis=axis, dtype=np.int64) for part in parts], axis=axis)
        inside.insert(axis, np.diff(starts, append=length))
        places.insert(axis, slice(first, last + 1))
    colour = _border_colour(pixels)
    square = np.empty((len(sizes), len(sizes), pixels.shape[2]), np.uint8)
    square[:] = colour
    rows, columns = places
    area = np.outer(sizes[rows], sizes[columns])[..., None]
    padding = (area - np.outer(*inside)[..., None]) * colour.astype(np.int64)
    square[rows, columns] = (sums + padding + area // 2) // area
    return square


def _border_colour(pixels: np.ndarray) -> np.ndarray:
    """The median colour, uint8 ``[C]``, of the outermost pixels; corners count twice."""
    edges = (pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1])
    counts = np.stack([sum(_counts(edge[:, channel]) for edge in edges) for channel in range(pixels.shape[2])])
    middle = counts[0].sum() / 2  # always whole
    below = counts.cumsum(axis=1)
    low, high = (below >= middle).argmax(axis=1), (below > middle).argmax(axis=1)
    return np.round((low + high) / 2).astype(np.uint8)


def _counts(values: np.ndarray) -> np.ndarray:
    """How often each of 0 to 255 is in uint8 ``[N]``; in parts, because counting takes 8 bytes for each."""
    part = 1 << 20
    return sum(np.bincount(values[start : start + part], minlength=256) for start in range(0, len(values), part))


def to_picture(pixels: np.ndarray) -> Image.Image:
    """uint8 ``[H, W, 3]`` as a picture of mode RGB, ``[H, W, 1]`` as one of mode L."""
    return Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)


def with_channels(image: ViewImage, channels: int) -> ViewImage:
    """An image for a model of gray images (1 channel) or of RGB ones (3), with a note if that took its colours.

    Gray is the luma of ITU-R 601, 0.299 R + 0.587 G + 0.114 B. Images stored in gray keep their values.
    """
    pixels = image.pixels
    if pixels.shape[2] == channels:
        return image
    notes = [] if image.note is None else image.note.split("; ")
    if channels == 3:
        pixels, notes = np.repeat(pixels, 3, axis=2), [*notes, FROM_GRAY_NOTE]
    else:
        notes = [note for note in notes if note != FROM_GRAY_NOTE]
        if (pixels != pixels[..., :1]).any():
            notes.append(GRAY_NOTE)
        pixels = np.array(to_picture(pixels).convert("L"))[..., None]
    return replace(image, pixels=pixels, note="; ".join(notes) or None)


def is_decoded(image: Image.Image) -> bool:
    """Whether a picture that Pillow opened is of a format that is read here."""
    return isinstance(image, tuple(_DECODERS.values()))


def upright(image: Image.Image, notes: list[str]) -> Image.Image:
    """A picture turned as its EXIF says; ``notes`` gets what is damaged of that."""
    # Looking for EXIF costs more than decoding a small PNG, and PNGs seldom have it.
    if image.format == "PNG" and not {"exif", "Raw profile type exif", "XML:com.adobe.xmp"} & set(image.info):
        return image
    try:
        return ImageOps.exif_transpose(image)
    except Exception:
        # The pixels are whole; only the orientation is lost.
        notes.append("damaged EXIF ignored")
        return image


def _open(data: bytes, location: str) -> ImageFile.ImageFile:
    if not data:
        raise UnreadableImage(location, "empty file")
    name = image_format(data)
    if name in _DECODERS:
        image = _DECODERS[name](BytesIO(data))
        _check_size(image, location)
        return image
    readable = f"{', '.join(list(_DECODERS)[:-1])} and {list(_DECODERS)[-1]} are read"
    if data.startswith((b"version https://git-lfs.github.com/", b"/annex/objects/")):
        raise UnreadableImage(location, "a pointer to an image; fetch the image (git lfs pull, git annex get)")
    if name is not None:
        raise UnreadableImage(location, f"a {name} picture, which cannot be read here ({readable}); convert it")
    raise UnreadableImage(location, f"not an image ({readable})")


def _check_size(image: Image.Image, location: str) -> None:
    width, height = image.size
    if width < 1 or height < 1:
        raise UnreadableImage(location, f"{width} x {height} pixels: there is nothing in it")
    if width * height > PIXEL_LIMIT:
        reason = f"{width} x {height} pixels, more than the limit of {PIXEL_LIMIT}; not decoded"
        raise UnreadableImage(location, reason)
