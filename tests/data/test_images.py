from __future__ import annotations

import hashlib
import struct

import numpy as np
import pytest
from helpers.objects import Maker
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dimvida.data import images
from dimvida.data.conversion import composite_on_white
from dimvida.data.images import decode_image, resize_image, with_channels
from dimvida.errors import UnreadableImage


def test_rgb_png_is_decoded_unchanged(make):
    pixels = make.pixels(3, 5, 7)
    data = make.encode(pixels)
    image = decode_image(data, "a.png")
    assert np.array_equal(image.pixels, pixels)
    assert image.pixels.dtype == np.uint8
    assert image.pixels.flags.writeable
    assert image.sha256 == hashlib.sha256(data).hexdigest()
    assert image.note is None


def test_content_counts_not_the_name(make):
    pixels = np.full((8, 8, 3), 200, np.uint8)
    for format in ("JPEG", "WEBP", "BMP", "GIF", "TIFF"):
        image = decode_image(make.encode(pixels, format), "a.png")
        assert np.abs(image.pixels.astype(int) - 200).max() <= 2, format


def test_grayscale(make):
    gray = make.pixels(1)[..., 0]
    image = decode_image(make.encode(gray), "a.png")
    assert np.array_equal(image.pixels, np.repeat(gray[..., None], 3, axis=2))
    assert image.note == "grayscale converted to RGB"


def test_palette(make):
    picture = Image.new("P", (2, 1))
    picture.putpalette([10, 20, 30, 200, 100, 50])
    picture.putdata([1, 0])
    image = decode_image(make.encode(picture), "a.png")
    assert image.pixels.tolist() == [[[200, 100, 50], [10, 20, 30]]]
    assert image.note == "palette converted to RGB"


def test_palette_with_transparent_colour_shows_white(make):
    picture = Image.new("P", (2, 1))
    picture.putpalette([10, 20, 30, 200, 100, 50])
    picture.putdata([1, 0])
    image = decode_image(make.encode(picture, transparency=0), "a.png")
    assert image.pixels.tolist() == [[[200, 100, 50], [255, 255, 255]]]
    assert image.note == "palette converted to RGB; transparency composited on white"


def test_alpha_is_composited_on_white(make):
    rgba = np.array([[[100, 0, 255, 0], [100, 0, 255, 255], [100, 0, 255, 51]]], np.uint8)
    image = decode_image(make.encode(rgba), "a.png")
    # 51/255 = 0.2: 0.2 * colour + 0.8 * 255
    assert image.pixels.tolist() == [[[255, 255, 255], [100, 0, 255], [224, 204, 255]]]
    assert image.note == "transparency composited on white"


def test_gray_alpha(make):
    picture = Image.merge("LA", [Image.new("L", (1, 1), 100), Image.new("L", (1, 1), 51)])
    image = decode_image(make.encode(picture), "a.png")
    assert image.pixels.tolist() == [[[224, 224, 224]]]
    assert image.note == "grayscale converted to RGB; transparency composited on white"


def test_rgb_with_a_transparent_colour(make):
    pixels = np.array([[[1, 2, 3], [4, 5, 6]]], np.uint8)
    image = decode_image(make.encode(pixels, transparency=(1, 2, 3)), "a.png")
    assert image.pixels.tolist() == [[[255, 255, 255], [4, 5, 6]]]


def test_composite_matches_exact_arithmetic():
    color, alpha = np.meshgrid(np.arange(256), np.arange(256))
    rgba = np.stack([color, color, color, alpha], axis=-1).astype(np.uint8)
    exact = np.floor((color * alpha + 255.0 * (255 - alpha)) / 255 + 0.5)
    assert np.array_equal(composite_on_white(rgba)[..., 0], exact)


def test_16_bit_grayscale_is_scaled_not_clipped(make):
    values = np.array([[0, 128, 129, 257, 32768, 65535]], np.uint16)
    image = decode_image(make.encode(Image.fromarray(values)), "a.png")
    assert image.pixels[0, :, 0].tolist() == [0, 0, 1, 1, 128, 255]
    assert image.note == "16-bit grayscale scaled to 8-bit RGB"


def test_16_bit_tiff_grayscale(make):
    values = np.array([[0, 257 * 40, 65535]], np.uint16)
    image = decode_image(make.encode(Image.fromarray(values), "TIFF"), "a.tif")
    assert image.pixels[0, :, 2].tolist() == [0, 40, 255]


def test_16_bit_rgb(make):
    values = np.array([[[0, 257 * 40, 65535], [257, 514, 771]]], np.uint16)
    header = struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0)
    image = decode_image(make.png_file(header, pixels=b"\0" + values.astype(">u2").tobytes()), "a.png")
    assert image.pixels.tolist() == [[[0, 40, 255], [1, 2, 3]]]
    assert image.note == "16-bit channels reduced to 8 bits"


def test_1_bit(make):
    picture = Image.new("1", (2, 1))
    picture.putdata([255, 0])
    image = decode_image(make.encode(picture), "a.png")
    assert image.pixels.tolist() == [[[255] * 3, [0] * 3]]
    assert image.note == "1-bit converted to RGB"


@pytest.mark.parametrize("format", ["JPEG", "TIFF"])
def test_cmyk(make, format):
    image = decode_image(make.encode(Image.new("CMYK", (8, 8), (255, 0, 0, 0)), format), "a")
    assert np.abs(image.pixels.astype(int) - (0, 255, 255)).max() <= 3
    assert image.note == "CMYK converted to RGB"


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exif_orientation_is_applied(make, format):
    pixels = np.zeros((16, 32, 3), np.uint8)
    pixels[:, 16:] = 255  # the right half is white
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise: right becomes bottom
    image = decode_image(make.encode(pixels, format, exif=exif), "a")
    assert image.pixels.shape == (32, 16, 3)
    assert image.pixels[:12].max() < 40
    assert image.pixels[20:].min() > 215


@pytest.mark.parametrize("format", ["GIF", "PNG", "WEBP"])
def test_first_frame_of_an_animation(make, format):
    frames = [Image.new("RGB", (8, 8), color) for color in ((255, 0, 0), (0, 0, 255))]
    data = make.encode(frames[0], format, save_all=True, append_images=frames[1:])
    image = decode_image(data, "a")
    assert np.abs(image.pixels.astype(int) - (255, 0, 0)).max() <= 3
    assert image.note.startswith("first frame of several used")


@pytest.mark.parametrize("format", Maker.FORMATS)
def test_truncated(make, format):
    data = make.encode(make.pixels(0, 64, 64), format)
    with pytest.raises(UnreadableImage, match=r"^dir/a\.png: damaged or truncated image") as caught:
        decode_image(data[: len(data) // 2], "dir/a.png")
    assert caught.value.location == "dir/a.png"


def test_wrong_checksum_is_damage(make):
    data = bytearray(make.png())
    data[data.index(b"IDAT") + 10] ^= 1
    with pytest.raises(UnreadableImage, match="damaged"):
        decode_image(bytes(data), "a.png")


@pytest.mark.parametrize("data", [b"hello, this is text", b"%PDF-1.4", b"\x7fELF", b"PK\x03\x04"])
def test_not_an_image(data):
    with pytest.raises(UnreadableImage, match=r"a\.png: not an image \(PNG, JPEG"):
        decode_image(data, "a.png")


def test_pointers_to_images():
    for data in (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
        b"/annex/objects/MD5E-s9--a.png",
    ):
        with pytest.raises(UnreadableImage, match=r"a\.png: a pointer to an image; fetch the image"):
            decode_image(data, "a.png")


@pytest.mark.parametrize("size", [(0, 3), (3, 0), (0, 0)])
def test_pictures_without_pixels(make, size):
    header = struct.pack(">IIBBBBB", *size, 8, 2, 0, 0, 0)
    png = make.png_file(header)
    with pytest.raises(UnreadableImage, match=r"^a: "):
        decode_image(png, "a")
    ppm = b"P6 %d %d 255\n" % size
    with pytest.raises(UnreadableImage, match=r"^a: "):
        decode_image(ppm, "a")


def test_empty_file():
    with pytest.raises(UnreadableImage, match="empty file"):
        decode_image(b"", "a.png")


def test_postscript_is_not_run(make):
    # Pillow would start an interpreter for it.
    with pytest.raises(UnreadableImage, match="not an image"):
        decode_image(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\nshowpage\n", "a.png")


def test_decompression_bomb_is_refused_from_its_header(make, recwarn):
    # 3.6 billion pixels, of which not one is stored: decoding it would fail in another way.
    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    bomb = make.png_file(header)
    with pytest.raises(UnreadableImage, match="60000 x 60000 pixels, more than the limit of 64000000"):
        decode_image(bomb, "bomb.png")
    assert not recwarn.list


@pytest.mark.parametrize("format", Maker.FORMATS)
def test_pixel_limit_holds_for_every_format(make, monkeypatch, format):
    data = make.encode(make.pixels(0, 20, 20), format)
    monkeypatch.setattr(images, "PIXEL_LIMIT", 400)
    assert decode_image(data, "a").pixels.shape == (20, 20, 3)
    monkeypatch.setattr(images, "PIXEL_LIMIT", 399)
    with pytest.raises(UnreadableImage, match="20 x 20 pixels, more than the limit of 399"):
        decode_image(data, "a")


def test_byte_limit(make, monkeypatch):
    data = make.png()
    monkeypatch.setattr(images, "BYTE_LIMIT", len(data) - 1)
    with pytest.raises(UnreadableImage, match=f"{len(data)} bytes, more than the limit"):
        decode_image(data, "a")


@pytest.mark.parametrize("mode", ["F", "I"])
def test_pixels_without_a_range_are_refused(make, mode):
    with pytest.raises(UnreadableImage, match="no known range; save it with 8 or 16 bits"):
        decode_image(make.encode(Image.new(mode, (2, 2), 7), "TIFF"), "a.tif")


@settings(max_examples=400)
@given(
    format=st.sampled_from(Maker.FORMATS),
    mode=st.sampled_from(["RGB", "L", "RGBA", "I;16"]),
    edits=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=8),
    cut=st.floats(0.1, 1),
)
def test_damage_never_raises_anything_else(make, format, mode, edits, cut):
    picture = Image.fromarray(make.pixels(0, 16, 16)).convert("L" if mode == "I;16" else mode)
    keeps = {"PNG": ("L", "RGBA", "I;16"), "TIFF": ("L", "RGBA", "I;16"), "WEBP": ("RGBA",), "GIF": ("L",)}
    picture = picture.convert(mode if mode in keeps.get(format, ()) else "RGB")
    data = bytearray(make.encode(picture, format))
    for place, value in edits:
        data[int(place * len(data))] = value
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(images, "PIXEL_LIMIT", 10**6)  # a size that is damaged costs little
            image = decode_image(bytes(data[: int(cut * len(data))]), "a")
    except UnreadableImage as error:
        assert error.location == "a"
    else:
        assert image.pixels.dtype == np.uint8
        assert image.pixels.shape[2] == 3


class TestGray:
    """Images for a model of gray ones."""

    def test_an_image_stored_in_gray_keeps_its_values(self, make):
        values = make.pixels(1, 5, 7)[..., 0]
        image = with_channels(decode_image(make.encode(values), "a.png"), 1)
        assert np.array_equal(image.pixels, values[..., None])
        assert image.note is None

    def test_colours_become_their_luma_with_a_note(self, make):
        pixels = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [90, 90, 90]]], np.uint8)
        image = decode_image(make.encode(pixels), "a.png")
        gray = with_channels(image, 1)
        assert gray.pixels.tolist() == [[[76], [150], [29], [90]]]
        assert gray.note == "colour converted to grayscale"
        assert gray.sha256 == image.sha256
        assert with_channels(gray, 1) is gray

    def test_other_notes_stay(self, make):
        transparent = make.encode(np.full((4, 4, 4), (200, 0, 0, 128), np.uint8))
        note = with_channels(decode_image(transparent, "a.png"), 1).note
        assert note == "transparency composited on white; colour converted to grayscale"

    def test_and_back(self, make):
        gray = with_channels(decode_image(make.encode(make.pixels(2)), "a.png"), 1)
        image = with_channels(gray, 3)
        assert image.pixels.shape[2] == 3 and (image.pixels == gray.pixels).all()
        assert image.note == "colour converted to grayscale; grayscale converted to RGB"

    def test_resizing_is_that_of_the_same_picture_in_rgb(self, make):
        gray = make.pixels(5, 20, 30)[..., :1]
        small = resize_image(gray, 8)
        assert small.shape == (8, 8, 1)
        assert np.array_equal(small, resize_image(np.repeat(gray, 3, axis=2), 8)[..., :1])
