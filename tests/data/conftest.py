"""Builders of small data sets that the tests of this folder share."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

VIEWS = ("front", "right", "back", "left")


class Maker:
    """Writes images and trees of files."""

    @staticmethod
    def pixels(seed: int = 0, height: int = 8, width: int = 8) -> np.ndarray:
        return np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)

    @staticmethod
    def encode(image: np.ndarray | Image.Image, format: str = "PNG", **options: object) -> bytes:
        image = image if isinstance(image, Image.Image) else Image.fromarray(image)
        buffer = io.BytesIO()
        image.save(buffer, format=format, **options)
        return buffer.getvalue()

    def png(self, seed: int = 0, height: int = 8, width: int = 8) -> bytes:
        return self.encode(self.pixels(seed, height, width))

    @staticmethod
    def folder(root: Path, files: Mapping[str, bytes | str]) -> Path:
        root.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        return root

    @staticmethod
    def zip(path: Path, files: Mapping[str, bytes | str], method: int = zipfile.ZIP_STORED) -> Path:
        with zipfile.ZipFile(path, "w", method) as archive:
            for name, content in files.items():
                archive.writestr(name, content)
        return path

    def multi_view(self, per_class: Mapping[str, int], split: str = "", start: int = 0) -> dict[str, bytes]:
        """Files of objects with four different views each; pixel seed 10 * object + view."""
        files, number = {}, start
        for class_name, count in per_class.items():
            for place in range(count):
                for view_number, view in enumerate(VIEWS):
                    name = f"{class_name}/{class_name}_{place:04d}/{view}.png"
                    files[f"{split}/{name}" if split else name] = self.png(10 * number + view_number)
                number += 1
        return files


@pytest.fixture(scope="session")
def make() -> Maker:
    return Maker()
