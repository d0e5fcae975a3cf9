"""Image files to pixels, with everything a camera roll or a hostile archive may hold.

A file counts as a picture by its name or by its first bytes, and is decoded by its first bytes alone. Only
the formats of ``_DECODERS`` are decoded: each further decoder is more surface for damaged and hostile files.
Pictures of other formats are known by name, so that none is passed over in silence.
"""

from __future__ import annotations

import hashlib
import re
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
from dimvida.data.image_files import PNG_SIGNATURE, choose_frame, mend_tiff, without_text
from dimvida.data.padding import pad_to_square, reduced_square
from dimvida.data.source import ViewImage
from dimvida.errors import UnreadableImage

# What Pillow warns of, damaged metadata for the most part, names no file; what matters is raised.
warnings.filterwarnings("ignore", module=r"PIL\.")

IMAGE_SUFFIXES = (
    *(".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".jfi", ".jif", ".pjpeg", ".pjp", ".mpo", ".webp"),
    *(".bmp", ".dib", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".pfm"),
    *(".avif", ".avifs", ".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx"),
)
"""Names of pictures that are decoded."""

UNSUPPORTED_SUFFIXES = (
    *(".heic", ".heif", ".hif", ".jxl", ".jxr", ".wdp", ".hdr", ".exr", ".qoi", ".tga", ".icb", ".vda", ".vst"),
    *(".ico", ".cur", ".icns", ".psd", ".psb", ".xcf", ".kra", ".svg", ".svgz", ".eps", ".pcx", ".dcx", ".dds"),
    *(".sgi", ".bw", ".rgb", ".rgba", ".ras", ".xbm", ".xpm", ".pam", ".pcd", ".wmf", ".emf", ".fits", ".dcm"),
    *(".dng", ".cr2", ".cr3", ".crw", ".nef", ".nrw", ".arw", ".sr2", ".srf", ".orf", ".rw2", ".raf", ".pef", ".srw"),
    *(".raw", ".rwl", ".3fr", ".iiq", ".x3f"),
)
"""Names of pictures that are not decoded but must not be passed over; reading one says what it is."""

PIXEL_LIMIT = 64_000_000
"""Most pixels in one image; larger ones are refused from the header, before they are decoded."""

BYTE_LIMIT = 256 * 2**20
"""Most bytes in one image file."""

CHANNELS = (1, 3)
"""Channels that images can have: gray or RGB."""

_LANCZOS, _GAP = Image.Resampling.LANCZOS, 3.0

SIGNATURE_SIZE = 32
"""Bytes from the beginning of a file that tell whether it is a picture."""

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

_PATTERNS = {
    "PNG": rb"\x89PNG\r\n\x1a\n",
    "JPEG": rb"\xff\xd8\xff",
    "WebP": rb"RIFF....WEBP",
    "BMP": rb"BM.{12}[\x0c\x10\x28\x34\x38\x40\x6c\x7c]\0\0\0",
    "GIF": rb"GIF8[79]a",
    "camera raw": rb"II[*]\0....CR|....ftypcrx |FUJIFILMCCD-RAW|IIU\0|IIR[OS]|MMOR",
    "TIFF": rb"II[*+]\0|MM\0[*+]",
    "PNM": rb"P[1-6Ff][\t-\r ]+[#\d]",
    "JPEG 2000": rb"\0\0\0\x0cjP {2}\r\n\x87\n|\xff\x4f\xff\x51",
    "AVIF": rb"....ftypavi[fs]",
    "HEIC": rb"....ftyp(?:hei[cxms]|hev[cxms]|mif[12]|msf1)",
    "JPEG XL": rb"\xff\x0a|\0\0\0\x0cJXL \r\n\x87\n",
    "Photoshop": rb"8BPS\0[\x01\x02]",
    "OpenEXR": rb"v/1\x01",
    "Radiance HDR": rb"#\?(?:RADIANCE|RGBE)",
    "QOI": rb"qoif",
    "DDS": rb"DDS \x7c",
    "SVG": rb"\s*<svg[\s>]",
}
_SIGNATURES = {name: re.compile(pattern, re.DOTALL) for name, pattern in _PATTERNS.items()}


def is_image_name(name: str) -> bool:
    """Whether a file calls itself a picture, of a format that is decoded or of another, in any case."""
    return name.lower().endswith(IMAGE_SUFFIXES + UNSUPPORTED_SUFFIXES)


def is_unsupported_name(name: str) -> bool:
    """Whether a file calls itself a picture of a format that is not decoded, in any case."""
    return name.lower().endswith(UNSUPPORTED_SUFFIXES)


def looks_like_image(head: bytes) -> bool:
    """Whether a file is a picture by its first ``SIGNATURE_SIZE`` bytes, of a format that is decoded or of another."""
    return image_format(head) is not None


def image_format(head: bytes) -> str | None:
    """The format that the first ``SIGNATURE_SIZE`` bytes of a file show, or None for what is no picture."""
    matches = (name for name, pattern in _SIGNATURES.items() if pattern.match(head[:SIGNATURE_SIZE]))
    return next(matches, None)


def decode_image(
    data: bytes, location: str, *, pixel_limit: int = PIXEL_LIMIT, byte_limit: int = BYTE_LIMIT
) -> ViewImage:
    """Decode an image file into RGB.

    Grayscale, palette, 1-bit, 16-bit and CMYK images are converted, transparency is composited on
    white, of several frames the largest that is no thumbnail is taken, and the first of equal ones, each with a
    note; EXIF orientation is applied.

    Args:
        data: The whole file.
        location: What an error calls it.
        pixel_limit: Most pixels that are decoded.
        byte_limit: Most bytes that are looked at.

    Raises:
        UnreadableImage: Not an image, truncated or damaged, or larger than a limit.
    """
    if len(data) > byte_limit:
        raise UnreadableImage(location, f"{len(data)} bytes, more than the limit of {byte_limit}")
    notes: list[str] = []
    try:
        stored = without_text(data) if data.startswith(PNG_SIGNATURE) else data
        image = _open(stored, location, pixel_limit)
        frame = choose_frame(image, location)
        if frame is not None:
            notes.append(f"{frame} frame of several used")
            _check_size(image, location, pixel_limit)
        numbers = stored_numbers(image, stored, location)
        mend_tiff(image)
        image.load()
        if numbers.bits == 16 and image.mode == "RGB" and "transparency" in image.info:
            key_to_alpha(image, stored)
        pixels = to_rgb(_upright(image, notes), numbers, notes)
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


def _open(data: bytes, location: str, pixel_limit: int) -> ImageFile.ImageFile:
    if not data:
        raise UnreadableImage(location, "empty file")
    name = image_format(data)
    if name in _DECODERS:
        image = _DECODERS[name](BytesIO(data))
        _check_size(image, location, pixel_limit)
        return image
    readable = f"{', '.join(list(_DECODERS)[:-1])} and {list(_DECODERS)[-1]} are read"
    if data.startswith((b"version https://git-lfs.github.com/", b"/annex/objects/")):
        raise UnreadableImage(location, "a pointer to an image; fetch the image (git lfs pull, git annex get)")
    if name is not None:
        raise UnreadableImage(location, f"a {name} picture, which cannot be read here ({readable}); convert it")
    raise UnreadableImage(location, f"not an image ({readable})")


def _check_size(image: Image.Image, location: str, pixel_limit: int) -> None:
    width, height = image.size
    if width < 1 or height < 1:
        raise UnreadableImage(location, f"{width} x {height} pixels: there is nothing in it")
    if width * height > pixel_limit:
        reason = f"{width} x {height} pixels, more than the limit of {pixel_limit}; not decoded"
        raise UnreadableImage(location, reason)


def _upright(image: Image.Image, notes: list[str]) -> Image.Image:
    # Looking for EXIF costs more than decoding a small PNG, and PNGs seldom have it.
    if image.format == "PNG" and not {"exif", "Raw profile type exif", "XML:com.adobe.xmp"} & set(image.info):
        return image
    try:
        return ImageOps.exif_transpose(image)
    except Exception:
        # The pixels are whole; only the orientation is lost.
        notes.append("damaged EXIF ignored")
        return image
