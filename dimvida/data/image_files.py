"""Image files: which files are pictures, and what they hold around the pixels.

A file counts as a picture by its name or by its first bytes. Pictures of formats that are not decoded are known too, so
that none is passed over in silence. Around pixels lie texts and profiles in PNG, pages and planes in TIFF.
"""

from __future__ import annotations

import re
import struct
import zlib

import numpy as np
from PIL import ImageFile, ImagePalette, TiffImagePlugin

from dimvida.errors import UnreadableImage

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

SIGNATURE_SIZE = 32
"""Bytes from the beginning of a file that tell whether it is a picture."""

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"

_TEXT_LIMIT = 1 << 20
_TEXT_CHUNKS = (b"tEXt", b"zTXt", b"iTXt", b"iCCP")
_ORIENTATION_KEYS = (b"XML:com.adobe.xmp", b"Raw profile type exif")
_FRAME_LIMIT = 100

_NEW_SUBFILE_TYPE = 254
_REDUCED, _MASK = 1, 4

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


def without_text(data: bytes) -> bytes:
    """A PNG without its texts and profiles, which Pillow refuses from 1 MB on and which never show.

    Of the texts that may hold an EXIF orientation, the first of each kind stays, up to 1 MB of it: however much
    it would unpack to, more is never asked for. What is damaged beyond the structure stays for Pillow to find.
    """
    if not any(kind in data for kind in _TEXT_CHUNKS):
        return data
    parts, place, kept = [PNG_SIGNATURE], len(PNG_SIGNATURE), set()
    while place + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, place)
        end = place + 12 + size
        if kind not in _TEXT_CHUNKS:
            parts.append(data[place:end])
        elif kind != b"iCCP" and end <= len(data):
            key, _, text = data[place + 8 : end - 4].partition(b"\0")
            if key in _ORIENTATION_KEYS and key not in kept:
                kept.add(key)
                parts.append(png_chunk(b"iTXt", key + b"\0\0\0\0\0" + _text_of(kind, text)))
        place = end
    return b"".join(parts)


def png_chunk(kind: bytes, body: bytes) -> bytes:
    """A chunk of a PNG file: its length, kind, body and checksum."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def run_length_png(pixels: np.ndarray) -> bytes:
    """PNG of uint8 [H, W, 3], or a gray one of [H, W, 1].

    Each row is stored as its difference from the one above, and compressed with zlib's run-length strategy: views on
    a plain ground are mostly runs then. That is two and a half times as fast as Pillow's fastest setting, and the
    files have the same size (benchmarks/generation.md).
    """
    height, width, channels = pixels.shape
    flat = pixels.reshape(height, width * channels)
    rows = np.empty((height, 1 + width * channels), np.uint8)
    rows[:, 0] = 2  # filter "up"
    rows[0, 1:] = flat[0]
    np.subtract(flat[1:], flat[:-1], out=rows[1:, 1:])
    packer = zlib.compressobj(1, zlib.DEFLATED, 15, 9, zlib.Z_RLE)
    data = packer.compress(rows) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 8, {1: 0, 3: 2}[channels], 0, 0, 0)
    return PNG_SIGNATURE + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", data) + png_chunk(b"IEND", b"")


def _text_of(kind: bytes, rest: bytes) -> bytes:
    """The beginning of a chunk's text; ``rest`` is what follows its keyword."""
    packed = kind == b"zTXt"
    if kind == b"zTXt":
        rest = rest[1:]
    elif kind == b"iTXt":
        packed, rest = rest[:1] == b"\1", rest[2:].partition(b"\0")[2].partition(b"\0")[2]
    if packed:
        try:
            return zlib.decompressobj().decompress(rest, _TEXT_LIMIT)
        except zlib.error:
            return b""
    return rest[:_TEXT_LIMIT]


def choose_frame(image: ImageFile.ImageFile, location: str) -> str | None:
    """Seek the frame that is the picture, and say which of several it is: "first" or "largest".

    Of an animation that is the first. Of the pages of a TIFF it is the largest, and the first of equal ones;
    pages marked as thumbnails or masks count where there are no others. Pages after a damaged one, and after the
    hundredth, do not count.

    Raises:
        UnreadableImage: A TIFF whose pages are thumbnails of a picture that lies elsewhere in it, as raw files of
            cameras are.
    """
    several = getattr(image, "is_animated", False)
    if image.format != "TIFF":
        return "first" if several else None
    best, best_rank, elsewhere = 0, (False, 0), False
    for frame in range(_FRAME_LIMIT if several else 1):
        try:
            image.seek(frame)
        except SyntaxError:
            pass  # a kind of page that is not known has a size all the same
        except Exception:  # damaged, or EOFError after the last
            break
        tags = image.tag_v2
        full = not tags.get(_NEW_SUBFILE_TYPE, 0) & (_REDUCED | _MASK)
        rank = (full, tags.get(TiffImagePlugin.IMAGEWIDTH, 0) * tags.get(TiffImagePlugin.IMAGELENGTH, 0))
        if rank > best_rank:
            best, best_rank = frame, rank
        elsewhere |= TiffImagePlugin.SUBIFD in tags
    if elsewhere and not best_rank[0]:
        raise UnreadableImage(location, "holds thumbnails of a picture that cannot be read here; convert it")
    image.seek(best)
    if not several:
        return None
    return "largest" if best else "first"


def mend_tiff(image: ImageFile.ImageFile) -> None:
    """Have an opened TIFF read as it is meant, where Pillow takes 16 bits for 8 or 8 for 16.

    That are the planes of uncompressed 16-bit colours, and palettes that some programs write with 8 bits.

    Raises:
        ValueError: Planes of CIELAB, whose signs it would lose.
    """
    if image.format != "TIFF":
        return
    tags = image.tag_v2
    if image.mode in ("P", "PA") and max(tags[TiffImagePlugin.COLORMAP]) < 256:
        image.palette = ImagePalette.raw("RGB;L", bytes(tags[TiffImagePlugin.COLORMAP]))
    if tags.get(TiffImagePlugin.PLANAR_CONFIGURATION) != 2:
        return
    if image.mode == "LAB":
        raise ValueError("CIELAB in planes is not read")
    if max(tags.get(TiffImagePlugin.BITSPERSAMPLE, (8,))) == 16:
        order = ";16L" if tags.prefix == b"II" else ";16B"
        image.tile = [
            tile._replace(args=(tile.args[0] + order, *tile.args[1:])) if tile.codec_name == "raw" else tile
            for tile in image.tile
        ]
