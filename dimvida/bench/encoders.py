"""PNG encoders side by side, on the same pictures, one thread each."""

from __future__ import annotations

import importlib.util
import io
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image

from dimvida.data.images import decode_image
from dimvida.generation.encoding import encode_png

Encode = Callable[[np.ndarray], bytes]


@dataclass(frozen=True, slots=True)
class EncoderTime:
    """What one encoder does.

    Attributes:
        name: Of the encoder.
        images_per_second: In one thread, best of the rounds; by the processor's time, so that what else runs does not
            count.
        size: Bytes of a picture, on average.
    """

    name: str
    images_per_second: float
    size: float

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"name": self.name, "images_per_second": self.images_per_second, "bytes": self.size}


def encoders() -> dict[str, Encode]:
    """The encoders that are installed here."""
    found: dict[str, Encode] = {"dimvida (zlib, RLE)": encode_png, "Pillow, level 1": _pillow}
    if importlib.util.find_spec("torchvision"):
        found["torchvision, level 1"] = _torchvision()
    if importlib.util.find_spec("cv2"):
        found["OpenCV, default"] = _opencv()
    return found


def measure_encoders(pictures: Sequence[np.ndarray], rounds: int = 7) -> list[EncoderTime]:
    """Time every encoder on the same pictures, uint8 [H, W, 3], in turn.

    Raises:
        AssertionError: One of them changes pixels.
    """
    found = encoders()
    best = dict.fromkeys(found, float("inf"))
    sizes = {}
    for name, encode in found.items():
        assert np.array_equal(decode_image(encode(pictures[0]), name).pixels, pictures[0]), name
    for _ in range(rounds):
        for name, encode in found.items():
            start = time.process_time()
            sizes[name] = sum(len(encode(picture)) for picture in pictures)
            best[name] = min(best[name], time.process_time() - start)
    return [EncoderTime(name, len(pictures) / best[name], sizes[name] / len(pictures)) for name in found]


def _pillow(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", compress_level=1)
    return buffer.getvalue()


def _torchvision() -> Encode:
    import warnings

    from torchvision.io import encode_png as encode

    def run(pixels: np.ndarray) -> bytes:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            return encode(torch.from_numpy(pixels).permute(2, 0, 1), compression_level=1).numpy().tobytes()

    return run


def _opencv() -> Encode:
    import cv2

    def run(pixels: np.ndarray) -> bytes:
        return cv2.imencode(".png", pixels[..., ::-1])[1].tobytes()

    return run
