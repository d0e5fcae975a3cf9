"""PNG files with texts and profiles of any size."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest

from dimvida.data.image_files import PNG_SIGNATURE, without_text
from dimvida.data.images import decode_image
from dimvida.errors import UnreadableImage

MEGABYTE = 1 << 20


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def with_chunks(png: bytes, *chunks: bytes, behind: bool = False) -> bytes:
    """A PNG with further chunks behind its header, or behind its pixels."""
    place = len(png) - 12 if behind else 33
    return png[:place] + b"".join(chunks) + png[place:]


LONG = {
    "plain": chunk(b"tEXt", b"Comment\0" + b"x" * 3 * MEGABYTE),
    "packed": chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"x" * 3 * MEGABYTE)),
    "international": chunk(b"iTXt", b"Comment\0\1\0\0\0" + zlib.compress(b"x" * 3 * MEGABYTE)),
    "XMP": chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(b"<x>" * MEGABYTE)),
    "XMP, not packed": chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + b"<x>" * MEGABYTE),
    "profile": chunk(b"iCCP", b"sRGB\0\0" + zlib.compress(bytes(3 * MEGABYTE))),
    "many": b"".join(chunk(b"zTXt", b"k%d\0\0" % k + zlib.compress(bytes(900_000))) for k in range(80)),
    "not zlib": chunk(b"zTXt", b"Raw profile type exif\0\0nothing that could be unpacked"),
    "no text": chunk(b"iTXt", b"XML:com.adobe.xmp") + chunk(b"tEXt", b"") + chunk(b"iCCP", b""),
}


@pytest.mark.parametrize("kind", LONG)
@pytest.mark.parametrize("behind", [False, True], ids=["before the pixels", "behind them"])
def test_a_sound_picture_is_read_whatever_its_text(make, kind, behind):
    image = decode_image(with_chunks(make.png(3), LONG[kind], behind=behind), "a.png")
    assert np.array_equal(image.pixels, make.pixels(3))
    assert image.note is None


@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt"])
def test_text_is_never_unpacked_beyond_a_megabyte(make, kind):
    between = b"\0\0" if kind == b"zTXt" else b"\0\1\0\0\0"
    bomb = chunk(kind, b"XML:com.adobe.xmp" + between + zlib.compress(bytes(200 * MEGABYTE)))
    slim = without_text(with_chunks(make.png(), bomb, bomb))
    assert len(slim) < MEGABYTE + 1000
    assert np.array_equal(decode_image(slim, "a").pixels, make.pixels())


@pytest.mark.parametrize("kind", [b"tEXt", b"zTXt", b"iTXt", b"iTXt packed"])
def test_the_orientation_in_a_long_text_is_applied(make, kind):
    xmp = b'<x tiff:Orientation="3"/>' + b"<x>" * MEGABYTE
    body = {
        b"tEXt": b"XML:com.adobe.xmp\0" + xmp,
        b"zTXt": b"XML:com.adobe.xmp\0\0" + zlib.compress(xmp),
        b"iTXt": b"XML:com.adobe.xmp\0\0\0\0\0" + xmp,
        b"iTXt packed": b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(xmp),
    }[kind]
    image = decode_image(with_chunks(make.png(), chunk(kind[:4], body)), "a")
    assert np.array_equal(image.pixels, make.pixels()[::-1, ::-1])


def test_pictures_without_text_are_left_as_they_are(make):
    png = make.png()
    assert without_text(png) is png


@pytest.mark.parametrize("cut", range(8, 120, 7))
def test_truncated_files_stay_truncated(make, cut):
    data = with_chunks(make.png(), chunk(b"tEXt", b"Comment\0" + b"x" * 100))[:cut]
    assert without_text(data).startswith(PNG_SIGNATURE)
    with pytest.raises(UnreadableImage, match=r"^a: damaged or truncated"):
        decode_image(data, "a")
