"""What the numbers of a PNG mean: colour keys and alpha.

The files are put together by hand, so that each pixel is known.
"""

from __future__ import annotations

import struct

import pytest
from helpers.objects import Maker
from PIL import Image

from dimvida.data.images import decode_image

from .conftest import WHITE, gray_of

GRAY, RGB, PALETTE, GRAY_ALPHA, RGBA = 0, 2, 3, 4, 6


def png(width: int, bits: int, kind: int, row: bytes, *extra: tuple[bytes, bytes]) -> bytes:
    """A PNG of one row."""
    return Maker.png_file(struct.pack(">IIBBBBB", width, 1, bits, kind, 0, 0, 0), *extra, pixels=b"\0" + row)


class TestColourKeys:
    """PNG: one colour that is transparent, and so white."""

    @pytest.mark.parametrize(
        ("bits", "row", "key", "expected"),
        [
            (1, 0b10100000, 1, [255, 0, 255]),
            (1, 0b10100000, 0, [255, 255, 255]),
            (2, 0b01001000, 1, [255, 0, 170]),
            (2, 0b11010000, 3, [255, 85, 0]),
            (2, 0b10010000, 0xFF02, [255, 85, 0]),  # only the lowest bits count
            (4, 0x70F, 7, [255, 0, 255]),
            (4, 0x702, 0, [119, 255, 34]),
            (8, 0x070008, 7, [255, 0, 8]),
            (16, 0x800000008001, 0x8000, [255, 0, 128]),
            (16, 0x800000008001, 0x8001, [128, 0, 255]),
        ],
    )
    def test_gray(self, bits, row, key, expected):
        size = max(1, (3 * bits + 7) // 8)
        packed = (row << (size * 8 - 3 * bits) if bits == 4 else row).to_bytes(size, "big")
        data = png(3, bits, GRAY, packed, (b"tRNS", struct.pack(">H", key)))
        assert gray_of(data) == expected
        assert "transparency composited on white" in decode_image(data, "a").note

    def test_rgb(self):
        data = png(3, 8, RGB, bytes([1, 2, 3, 1, 2, 4, 0, 0, 0]), (b"tRNS", struct.pack(">3H", 1, 2, 3)))
        assert decode_image(data, "a").pixels.tolist() == [[WHITE, [1, 2, 4], [0, 0, 0]]]

    def test_rgb_at_16_bits_compares_all_of_them(self):
        key, close, other = (0x8000, 0x1234, 0xFFFF), (0x8001, 0x1234, 0xFFFF), (0, 0, 0)
        data = png(3, 16, RGB, struct.pack(">9H", *key, *close, *other), (b"tRNS", struct.pack(">3H", *key)))
        image = decode_image(data, "a")
        assert image.pixels.tolist() == [[WHITE, [0x80, 0x12, 0xFF], [0, 0, 0]]]
        assert image.note == "16-bit channels reduced to 8 bits; transparency composited on white"

    def test_rgb_at_16_bits_is_turned_with_its_key(self):
        exif = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x03\0\0\0\0\0\0"  # by 180 degrees
        row = struct.pack(">6H", 0x8000, 0x8000, 0x8000, 0, 0, 0)
        data = png(2, 16, RGB, row, (b"tRNS", struct.pack(">3H", *[0x8000] * 3)), (b"eXIf", exif))
        assert gray_of(data) == [0, 255]

    def test_palette_with_partial_transparency(self):
        row = bytes([0b00011000])
        data = png(3, 2, PALETTE, row, (b"PLTE", bytes([100, 0, 255] * 3)), (b"tRNS", bytes([0, 51])))
        # 51 / 255 = 0.2 of the colour; the third entry has no alpha and is opaque
        assert decode_image(data, "a").pixels.tolist() == [[WHITE, [224, 204, 255], [100, 0, 255]]]

    def test_gray_gif(self, make):
        picture = Image.new("L", (2, 1))
        picture.putdata([7, 0])
        assert gray_of(make.encode(picture, "GIF", transparency=7)) == [255, 0]


class TestPngAlpha:
    def test_gray_at_16_bits(self):
        data = png(3, 16, GRAY_ALPHA, struct.pack(">6H", 0x6400, 0, 0x6400, 0xFFFF, 0x6464, 0x3333))
        assert gray_of(data) == [255, 100, 224]

    def test_rgb_at_16_bits(self):
        data = png(2, 16, RGBA, struct.pack(">8H", 0, 0, 0, 0, 0x6464, 0, 0xFFFF, 0x3333))
        assert decode_image(data, "a").pixels.tolist() == [[WHITE, [224, 204, 255]]]
