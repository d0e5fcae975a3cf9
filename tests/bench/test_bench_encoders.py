"""Times of PNG encoders on the same pictures: ``pytest tests/bench -k png --benchmark-enable``.

Our own is kept as long as it is the fastest (``dimvida.data.image_files.run_length_png``).
"""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image

from dimvida.data.image_files import run_length_png
from dimvida.data.images import decode_image
from dimvida.data.opening import open_source
from dimvida.data.sample import sample_truth

Encode = Callable[[np.ndarray], bytes]
PICTURES = 32


def encoder(name: str) -> Encode:
    """A function from uint8 pixels [H, W, 3] to the bytes of a PNG file."""
    if name == "dimvida":
        return run_length_png
    if name == "Pillow":

        def pillow(pixels: np.ndarray) -> bytes:
            buffer = io.BytesIO()
            Image.fromarray(pixels).save(buffer, format="PNG", compress_level=1)
            return buffer.getvalue()

        return pillow
    if name == "torchvision":
        encode = pytest.importorskip("torchvision.io").encode_png
        return lambda pixels: encode(torch.from_numpy(pixels).permute(2, 0, 1), 1).numpy().tobytes()
    cv2 = pytest.importorskip("cv2")
    return lambda pixels: cv2.imencode(".png", pixels[..., ::-1])[1].tobytes()


@pytest.fixture(scope="module")
def pictures() -> list[np.ndarray]:
    source = open_source(sample_truth())
    return [source.read_view(number % len(source), "front").pixels for number in range(PICTURES)]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", ["dimvida", "Pillow", "torchvision", "OpenCV"])
def test_png(benchmark, pictures: list[np.ndarray], name: str):
    """A case encodes all pictures once; ``extra_info`` has the mean size of a file."""
    encode = encoder(name)
    files = benchmark(lambda: [encode(picture) for picture in pictures])
    benchmark.extra_info["bytes"] = sum(map(len, files)) / len(files)
    for picture, file in zip(pictures, files, strict=True):
        assert np.array_equal(decode_image(file, name).pixels, picture)
