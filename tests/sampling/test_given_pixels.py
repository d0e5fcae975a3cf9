"""Images of Python become the pixels that files of the same content give, opened, loaded or as arrays."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from dimvida.data.images import decode_image, resize_image, with_channels
from dimvida.errors import UnreadableImage
from dimvida.sampling import given
from dimvida.sampling.given import fit_held

SIZE = 16


def noise(*shape: int, most: int = 256, dtype: type = np.uint8) -> np.ndarray:
    return np.random.default_rng(sum(shape)).integers(0, most, shape).astype(dtype)


def encoded(picture: Image.Image, form: str, **options: object) -> bytes:
    file = BytesIO()
    picture.save(file, form, **options)
    return file.getvalue()


def of_file(data: bytes, channels: int) -> np.ndarray:
    """What every command makes of a file."""
    return resize_image(with_channels(decode_image(data, "a"), channels).pixels, SIZE)


def turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(Image.fromarray(noise(20, 33, 3)), "JPEG", exif=exif)


def palette() -> bytes:
    picture = Image.fromarray(noise(24, 24, most=4)).convert("P")
    picture.putpalette([10, 20, 30, 200, 100, 50, 0, 0, 0, 9, 9, 9])
    return encoded(picture, "PNG", transparency=1)


FILES = {
    "RGB": encoded(Image.fromarray(noise(30, 20, 3)), "PNG"),
    "RGBA": encoded(Image.fromarray(noise(31, 17, 4)), "PNG"),
    "gray": encoded(Image.fromarray(noise(18, 18)), "PNG"),
    "gray and alpha": encoded(Image.fromarray(noise(18, 18)).convert("LA"), "PNG"),
    "16-bit gray": encoded(Image.fromarray(noise(18, 25, most=65536, dtype=np.uint16)), "PNG"),
    "16-bit TIFF, white is zero": encoded(
        Image.fromarray(noise(18, 25, most=65536, dtype=np.uint16)), "TIFF",
        tiffinfo={TiffImagePlugin.PHOTOMETRIC_INTERPRETATION: 0},
    ),
    "1-bit": encoded(Image.fromarray(noise(18, 25, most=2) > 0), "PNG"),
    "palette with a transparent colour": palette(),
    "CMYK": encoded(Image.fromarray(noise(22, 20, 4), "CMYK"), "TIFF"),
    "JPEG on its side": turned(),
    "of the size": encoded(Image.fromarray(noise(SIZE, SIZE, 3)), "WEBP", lossless=True),
}  # fmt: skip


@pytest.mark.parametrize("loaded", [False, True], ids=["opened", "loaded"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", FILES)
def test_a_picture_is_what_its_file_is(name: str, channels: int, loaded: bool):
    with Image.open(BytesIO(FILES[name])) as picture:
        if loaded:
            picture.load()
        assert np.array_equal(fit_held(picture, "a", channels, SIZE), of_file(FILES[name], channels))
        assert np.array_equal(np.asarray(picture), np.asarray(Image.open(BytesIO(FILES[name]))))


def test_a_key_below_eight_bits_is_known_until_a_picture_is_loaded():
    picture = Image.fromarray(noise(18, 18, most=4) * 85)
    data = encoded(picture, "PNG", bits=2, transparency=1)
    with Image.open(BytesIO(data)) as opened:
        assert np.array_equal(fit_held(opened, "a", 3, SIZE), of_file(data, 3))


@pytest.mark.parametrize("name", ["RGB", "RGBA", "gray", "16-bit gray"])
def test_an_array_is_what_its_file_is(name: str):
    array = np.asarray(Image.open(BytesIO(FILES[name])))
    assert np.array_equal(fit_held(array, "a", 3, SIZE), of_file(FILES[name], 3))
    assert np.array_equal(fit_held(array.astype(array.dtype.newbyteorder(">")), "a", 3, SIZE), of_file(FILES[name], 3))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floats_of_bytes_are_the_bytes(dtype: type):
    array = np.arange(256, dtype=np.uint8).reshape(16, 16)
    assert np.array_equal(fit_held((array / 255).astype(dtype), "a", 1, SIZE)[..., 0], array)


def test_sixteen_bits_and_truth_values():
    array = np.array([[0, 128, 255, 256, 32768, 65535]], np.uint16).repeat(6, 0)
    assert fit_held(array, "a", 1, 6)[0, :, 0].tolist() == [0, 0, 1, 1, 128, 255]
    colours = np.repeat(array[..., None], 3, 2)
    assert fit_held(colours, "a", 3, 6)[0, :, 0].tolist() == [0, 0, 0, 1, 128, 255]
    assert fit_held(np.eye(4) > 0, "a", 3, 4)[..., 1].tolist() == (np.eye(4) * 255).tolist()


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.zeros((3, 16, 16), np.uint8), "channels come last in an array, first in a tensor"),
        (np.zeros(16, np.uint8), r"not uint8 \[16\]"),
        (np.zeros((0, 4, 3), np.uint8), r"\[0, 4, 3\]"),
        (np.zeros((4, 4), np.int64), "uint8, uint16, bool or float in .0, 1., not int64"),
        (np.array([[0.0, 255.0]]), r"float images are in \[0, 1\]; these go from 0 to 255"),
        (np.array([[-1.0, 1.0]]), "these go from -1 to 1"),
        (np.array([[np.nan, 1.0]]), "these go from nan to nan"),
    ],
)
def test_other_arrays_are_told_what_is_taken(array: np.ndarray, said: str):
    with pytest.raises(ValueError, match=f"^views.*{said}"):
        fit_held(array, "views", 3, SIZE)


def test_pictures_that_are_none(monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(UnreadableImage, match="floating-point pixels have no known range"):
        fit_held(Image.new("F", (4, 4)), "views", 3, SIZE)
    with pytest.raises(UnreadableImage, match="32-bit integer pixels"):
        fit_held(Image.new("I", (4, 4)), "views", 3, SIZE)
    with (
        Image.open(BytesIO(FILES["RGB"][:-60])) as damaged,
        pytest.raises(UnreadableImage, match="views: damaged or truncated image"),
    ):
        fit_held(damaged, "views", 3, SIZE)
    monkeypatch.setattr(given, "PIXEL_LIMIT", 100)
    for image in (Image.new("L", (11, 11)), np.zeros((11, 11), np.uint8)):
        with pytest.raises(UnreadableImage, match="11 x 11 pixels, more than the limit of 100"):
            fit_held(image, "views", 3, SIZE)
