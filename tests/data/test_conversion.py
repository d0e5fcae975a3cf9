"""What the stored numbers of pictures mean. The files are put together by hand, so that each pixel is known."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence

import numpy as np
import pytest
from PIL import Image

from dimvida.data import images
from dimvida.data.images import decode_image
from dimvida.errors import UnreadableImage

from .conftest import WHITE, gray_of


def tiff(
    width: int,
    height: int,
    bits: Sequence[int],
    photometric: int,
    strips: Sequence[bytes],
    *,
    order: str = "<",
    tags: dict[int, tuple[str, Sequence[int]]] | None = None,
    next_page: bytes = b"",
) -> bytes:
    """An uncompressed TIFF; ``tags`` are further ones of type H or I, and ``next_page`` another such file."""
    offsets, body = [], b""
    for strip in strips:
        offsets.append(8 + len(body))
        body += strip
    entries: dict[int, tuple[str, Sequence[int]]] = {
        256: ("I", [width]), 257: ("I", [height]), 258: ("H", bits), 259: ("H", [1]), 262: ("H", [photometric]),
        273: ("I", offsets), 277: ("H", [len(bits)]), 278: ("I", [height]), 279: ("I", [len(s) for s in strips]),
        **(tags or {}),
    }  # fmt: skip
    start = 8 + len(body)
    place = start + 2 + 12 * len(entries) + 4
    records = tail = b""
    for tag, (kind, values) in sorted(entries.items()):
        data = struct.pack(f"{order}{len(values)}{kind}", *values)
        records += struct.pack(f"{order}HHI", tag, {"H": 3, "I": 4}[kind], len(values))
        if len(data) <= 4:
            records += data.ljust(4, b"\0")
        else:
            records += struct.pack(f"{order}I", place + len(tail))
            tail += data
    following = place + len(tail) if next_page else 0
    header = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, start)
    first = (
        header + body + struct.pack(f"{order}H", len(entries)) + records + struct.pack(f"{order}I", following) + tail
    )
    return first + shifted_page(next_page, len(first), order)


def shifted_page(data: bytes, by: int, order: str) -> bytes:
    """The directory of a one-strip TIFF and its pixels, for a place ``by`` bytes into another file."""
    if not data:
        return b""
    (start,) = struct.unpack_from(f"{order}I", data, 4)
    (count,) = struct.unpack_from(f"{order}H", data, start)
    size = 2 + 12 * count + 4
    directory, tail, pixels = bytearray(data[start : start + size]), data[start + size :], data[8:start]
    for entry in range(count):
        at = 2 + 12 * entry
        tag, kind, values = struct.unpack_from(f"{order}HHI", directory, at)
        (value,) = struct.unpack_from(f"{order}I", directory, at + 8)
        if tag == 273:
            struct.pack_into(f"{order}I", directory, at + 8, by + size + len(tail))
        elif {3: 2, 4: 4}[kind] * values > 4:
            struct.pack_into(f"{order}I", directory, at + 8, value - start + by)
    return bytes(directory) + tail + pixels


class TestGrayTiff:
    @pytest.mark.parametrize("order", ["<", ">"])
    @pytest.mark.parametrize(
        ("bits", "row", "scaled"),
        [
            (1, bytes([0b10100000]), [255, 0, 255]),
            (2, bytes([0b11010000]), [255, 85, 0]),
            (4, bytes([0xF1, 0x00]), [255, 17, 0]),
            (8, bytes([255, 7, 0]), [255, 7, 0]),
            (12, bytes([0xFF, 0xF8, 0x00, 0x00, 0x00]), [255, 128, 0]),
        ],
    )
    @pytest.mark.parametrize("photometric", [0, 1], ids=["white is zero", "black is zero"])
    def test_up_to_12_bits(self, order, bits, row, scaled, photometric):
        expected = scaled if photometric else [255 - value for value in scaled]
        assert gray_of(tiff(3, 1, [bits], photometric, [row], order=order)) == expected

    @pytest.mark.parametrize("order", ["<", ">"])
    @pytest.mark.parametrize("photometric", [0, 1], ids=["white is zero", "black is zero"])
    @pytest.mark.parametrize("packed", [False, True])
    def test_16_bits(self, order, photometric, packed):
        strip = struct.pack(f"{order}3H", 65535, 257 * 40, 0)
        tags = {259: ("H", [8])} if packed else {}  # Deflate
        data = tiff(3, 1, [16], photometric, [zlib.compress(strip) if packed else strip], order=order, tags=tags)
        assert gray_of(data) == ([255, 40, 0] if photometric else [0, 215, 255])

    @pytest.mark.parametrize(("bits", "kind"), [(8, "signed"), (16, "signed"), (32, "signed")])
    def test_signed_numbers_are_refused(self, bits, kind):
        data = tiff(3, 1, [bits], 1, [bytes(3 * bits // 8)], tags={339: ("H", [2])})
        with pytest.raises(UnreadableImage, match=f"^a: {kind} integer pixels have no known range"):
            decode_image(data, "a")

    def test_floating_point_is_refused(self):
        data = tiff(1, 1, [32], 1, [struct.pack("<f", 0.5)], tags={339: ("H", [3])})
        with pytest.raises(UnreadableImage, match="floating-point pixels have no known range"):
            decode_image(data, "a")

    @pytest.mark.parametrize("photometric", [32803, 9])
    def test_kinds_that_are_not_known_are_no_damage(self, photometric):
        with pytest.raises(UnreadableImage, match=r"^a: unsupported kind of image"):
            decode_image(tiff(1, 1, [8], photometric, [b"\0"]), "a")


class TestColourTiff:
    @pytest.mark.parametrize("order", ["<", ">"])
    @pytest.mark.parametrize("bits", [8, 16])
    @pytest.mark.parametrize("planes", [False, True], ids=["interleaved", "planes"])
    def test_rgb(self, order, bits, planes):
        pixels = np.array([[[10, 200, 3], [0, 255, 128]]])
        stored = (pixels * (257 if bits == 16 else 1)).astype(f"{order}u{bits // 8}")
        strips = [stored[..., k].tobytes() for k in range(3)] if planes else [stored.tobytes()]
        data = tiff(2, 1, [bits] * 3, 2, strips, order=order, tags={284: ("H", [2 if planes else 1])})
        assert decode_image(data, "a").pixels.tolist() == pixels.tolist()

    @pytest.mark.parametrize(
        ("extra", "colour"),
        [(0, [100, 0, 51]), (1, [255, 204, 255]), (2, [224, 204, 214])],
        ids=["no alpha", "premultiplied", "straight"],
    )
    def test_alpha(self, extra, colour):
        data = tiff(1, 1, [8] * 4, 2, [bytes([100, 0, 51, 51])], tags={338: ("H", [extra])})
        pixels = decode_image(data, "a").pixels[0, 0].astype(int)
        assert np.abs(pixels - colour).max() <= (1 if extra == 1 else 0)  # premultiplied numbers are rounded

    @pytest.mark.parametrize(("bits", "factor"), [(8, 1), (16, 257)])
    def test_cmyk(self, bits, factor):
        values = np.array([[255, 0, 0, 0], [0, 0, 0, 255], [0, 0, 0, 0]])
        data = tiff(3, 1, [bits] * 4, 5, [(values * factor).astype(f"<u{bits // 8}").tobytes()])
        assert decode_image(data, "a").pixels.tolist() == [[[0, 255, 255], [0, 0, 0], WHITE]]

    def test_cielab_in_planes_is_refused(self):
        data = tiff(1, 1, [8] * 3, 8, [b"\xff", b"\x10", b"\x10"], tags={284: ("H", [2])})
        with pytest.raises(UnreadableImage, match="CIELAB in planes is not read"):
            decode_image(data, "a")

    def test_cielab(self):
        # L* of 100, 0 and 54.3 with a* = 80.8 and b* = 69.9, the red of sRGB under D50; 8 bits are coarse there
        data = tiff(3, 1, [8] * 3, 8, [bytes([255, 0, 0, 0, 0, 0, 138, 81, 70])])
        pixels = decode_image(data, "a").pixels[0].astype(int)
        assert np.abs(pixels - [WHITE, [0, 0, 0], [255, 0, 0]]).max() <= 6

    @pytest.mark.parametrize("factor", [257, 256, 1])  # some programs write 8 bits where 16 belong
    def test_palette(self, factor):
        colours = [factor * value for value in (10, 40, 20, 50, 30, 60)]  # all reds, then greens, then blues
        data = tiff(2, 1, [1], 3, [bytes([0b01000000])], tags={320: ("H", colours)})
        assert decode_image(data, "a").pixels.tolist() == [[[10, 20, 30], [40, 50, 60]]]


class TestPages:
    """TIFF: several pictures in one file."""

    FULL = tiff(4, 1, [8], 1, [bytes([1, 2, 3, 4])])

    @pytest.mark.parametrize("marked", [False, True])
    def test_a_thumbnail_before_the_picture(self, marked):
        tags = {254: ("I", [1])} if marked else {}
        data = tiff(2, 1, [8], 1, [bytes([9, 9])], tags=tags, next_page=self.FULL)
        assert gray_of(data) == [1, 2, 3, 4]
        assert decode_image(data, "a").note.startswith("largest frame of several used")

    @pytest.mark.parametrize("mark", [1, 4])
    def test_a_large_preview_or_mask_before_the_picture(self, mark):
        data = tiff(6, 1, [8], 1, [bytes([9] * 6)], tags={254: ("I", [mark])}, next_page=self.FULL)
        assert gray_of(data) == [1, 2, 3, 4]

    def test_the_first_of_equal_pages(self):
        data = tiff(4, 1, [8], 1, [bytes([5, 6, 7, 8])], next_page=self.FULL)
        assert gray_of(data) == [5, 6, 7, 8]
        assert decode_image(data, "a").note.startswith("first frame of several used")

    def test_a_thumbnail_after_the_picture(self):
        small = tiff(2, 1, [8], 1, [bytes([9, 9])], tags={254: ("I", [1])})
        assert gray_of(tiff(4, 1, [8], 1, [bytes([5, 6, 7, 8])], next_page=small)) == [5, 6, 7, 8]

    def test_the_limit_holds_for_the_page_that_is_used(self, monkeypatch):
        monkeypatch.setattr(images, "PIXEL_LIMIT", 3)
        data = tiff(2, 1, [8], 1, [bytes([9, 9])], next_page=self.FULL)
        with pytest.raises(UnreadableImage, match="4 x 1 pixels, more than the limit of 3"):
            decode_image(data, "a")

    def test_a_damaged_second_page_does_not_take_the_first(self):
        data = tiff(4, 1, [8], 1, [bytes([5, 6, 7, 8])], next_page=self.FULL)
        assert gray_of(data[: -len(self.FULL) + 20]) == [5, 6, 7, 8]

    @pytest.mark.parametrize("next_page", [b"", tiff(1, 1, [8], 1, [b"\0"], tags={254: ("I", [1])})])
    def test_thumbnails_of_a_raw_file_are_not_its_picture(self, next_page):
        tags = {254: ("I", [1]), 330: ("I", [8])}
        data = tiff(2, 1, [8], 1, [bytes([9, 9])], tags=tags, next_page=next_page)
        with pytest.raises(UnreadableImage, match="holds thumbnails of a picture that cannot be read here"):
            decode_image(data, "a.nef")


class TestPnm:
    @pytest.mark.parametrize(
        ("data", "expected"),
        [
            (b"P1 2 1 1 0", [0, 255]),
            (b"P4 2 1\n\x80", [0, 255]),
            (b"P2 2 1 100 100 50", [255, 128]),
            (b"P5 2 1 255\n\x07\xff", [7, 255]),
            (b"P5 2 1 65535\n\xff\xff\x28\x28", [255, 40]),
            (b"P5\n# made by hand\n2 1 4095\n\x0f\xff\x08\x00", [255, 128]),
            (b"P6 1 1 65535\n\x28\x28\x28\x28\x28\x28", [40]),
        ],
    )
    def test_depths(self, data, expected):
        assert gray_of(data) == expected


def test_cmyk_jpeg_of_adobe_programs_is_stored_inverted(make):
    data = make.encode(Image.new("CMYK", (16, 16), (255, 0, 0, 0)), "JPEG", quality=95)
    at = data.index(b"Adobe") + 11
    assert np.abs(decode_image(data, "a").pixels.astype(int) - (0, 255, 255)).max() <= 3
    # The same numbers 0, 255, 255, 255 said to be YCCK: the inverse of the RGB of Y, Cb and Cr, without black.
    ycck = data[:at] + b"\2" + data[at + 1 :]
    rgb = np.clip([1.402 * 127, -(0.344136 + 0.714136) * 127, 1.772 * 127], 0, 255)
    assert np.abs(decode_image(ycck, "a").pixels.astype(int) - (255 - rgb)).max() <= 3
