"""Which files are pictures, PNG files with texts and profiles of any size, and our own PNG encoder."""

from __future__ import annotations

import io
import zlib

import numpy as np
import pytest
from helpers.objects import Maker
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dimvida.data.image_files import (
    PNG_SIGNATURE,
    SIGNATURE_SIZE,
    is_image_name,
    looks_like_image,
    run_length_png,
    without_text,
)
from dimvida.data.images import decode_image
from dimvida.errors import UnreadableImage

MEGABYTE = 1 << 20


def chunk(kind: bytes, body: bytes) -> bytes:
    return Maker.png_chunks((kind, body))


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


@pytest.mark.parametrize(
    "name",
    ["a.png", "a.PNG", "b/c.jpeg", "a.jfif", "a.JPE", "a.jif", "a.webp", "a.bmp", "a.TIFF", "a.tif", "a.gif"]
    + ["a.ppm", "a.pgm", "a.pbm", "a.avif", "a.jp2", "a.apng", "a.mpo", "a.heic", "a.HEIF", "a.jxl", "a.dng", "a.svg"],
)
def test_names_of_pictures(name):
    assert is_image_name(name)


@pytest.mark.parametrize("name", ["png", "a", "a.txt", "a.npz", "a.png.txt", "a.json", "a.csv", "a.mp4", "pngx.zip"])
def test_names_of_other_files(name):
    assert not is_image_name(name)


@pytest.mark.parametrize("format", Maker.FORMATS)
def test_pictures_are_known_by_their_first_bytes(make, format):
    data = make.encode(np.full((40, 40, 3), (200, 60, 40), np.uint8), format)
    assert looks_like_image(data[:SIGNATURE_SIZE])
    pixels = decode_image(data, "IMG_0001").pixels.astype(int)
    assert np.abs(pixels - (200, 60, 40)).max() <= 4


@pytest.mark.parametrize(
    ("head", "format"),
    [
        (b"\0\0\0\x18ftypheic" + bytes(60), "HEIC"),
        (b"\0\0\0\x1cftypmif1" + bytes(60), "HEIC"),
        (b"\xff\x0a" + bytes(60), "JPEG XL"),
        (b"8BPS\0\1" + bytes(60), "Photoshop"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
    ],
)
def test_pictures_that_are_not_decoded_say_what_they_are(head, format):
    assert looks_like_image(head[:SIGNATURE_SIZE])
    with pytest.raises(UnreadableImage, match=rf"^a/b: a {format} picture, which cannot be read here .*; convert it$"):
        decode_image(head, "a/b")


@pytest.mark.parametrize(
    "head", [b"", b"P", b"BMW and others", b"PK\3\4", b"Part 1", b"RIFF\0\0\0\0WAVE", b"\x93NUMPY", b"{}", b"II"]
)
def test_other_files_are_no_pictures_by_their_first_bytes(head):
    assert not looks_like_image(head)


@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 40), st.booleans())
def test_png_keeps_every_pixel(seed: int, height: int, width: int, flat: bool):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    if flat:
        pixels[:] = pixels[0, 0]
    assert np.array_equal(decode_image(run_length_png(pixels), "x").pixels, pixels)


def test_png_of_every_reader(tiny_image):
    pixels = np.asarray(tiny_image(3))
    data = run_length_png(pixels)
    assert data == run_length_png(np.ascontiguousarray(pixels.copy()))
    image = Image.open(io.BytesIO(data))
    image.verify()
    assert (image.format, image.mode, image.size) == ("PNG", "RGB", (16, 16))


@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 40))
def test_gray_png_keeps_every_pixel(seed: int, height: int, width: int):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 1), np.uint8)
    image = Image.open(io.BytesIO(run_length_png(pixels)))
    assert (image.mode, image.size) == ("L", (width, height))
    assert np.array_equal(np.asarray(image)[..., None], pixels)


def test_a_plain_picture_is_smaller_than_its_pixels():
    pixels = np.full((64, 64, 3), 255, np.uint8)
    pixels[20:40, 20:40] = (200, 30, 30)
    assert len(run_length_png(pixels)) < pixels.size / 20
