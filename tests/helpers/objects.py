"""Data that tests write: boxes, wide in front and back, narrow from the sides; tables, tar files and shards."""

from __future__ import annotations

import io
import json
import struct
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, features

if TYPE_CHECKING:
    import pyarrow as pa

VIEWS = ("front", "right", "back", "left")
SIZE = 16
SHADES = ("dark", "light")
CHAIR_SOFA = {"label": {"names": ["chair", "sofa"], "_type": "ClassLabel"}}


def coloured_boxes(objects: int, size: int = SIZE) -> np.ndarray:
    """uint8 [N, 4, size, size, 3]; the same for every call."""
    random = np.random.default_rng(0)
    images = np.full((objects, 4, size, size, 3), 255, np.uint8)
    for views in images:
        colour = random.integers(0, 200, 3)
        for view, extent in enumerate([6, 2, 6, 2]):
            middle = size // 2
            views[view, middle - 4 : middle + 4, middle - extent : middle + extent] = colour
    return images


def write_boxes(root: Path, objects: int, split: str = "train", first: int = 0) -> Path:
    """Boxes ``first`` and up as ``<root>/<split>/box/box_<number>/<view>.png``; returns ``root``."""
    for number, views in enumerate(coloured_boxes(first + objects)[first:], first):
        folder = root / split / "box" / f"box_{number:04d}"
        folder.mkdir(parents=True)
        for name, pixels in zip(VIEWS, views, strict=True):
            Image.fromarray(pixels).save(folder / f"{name}.png")
    return root


def write_shades(root: Path, train: int = 6, test: int = 12) -> Path:
    """Dark and light boxes as ``<root>/<split>/<dark or light>/<object>/<view>.png``; returns ``root``."""
    for number, views in enumerate(coloured_boxes(train + test)):
        folder = root / ("train" if number < train else "test") / SHADES[number % 2] / f"object_{number:02d}"
        folder.mkdir(parents=True)
        for name, pixels in zip(VIEWS, views, strict=True):
            Image.fromarray(pixels // 2 + 127 * (number % 2)).save(folder / f"{name}.png")
    return root


class Trap:
    """What a pickle can be: one that makes a file where it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.path,)


class Maker:
    """Writes images and trees of files."""

    FORMATS = (
        *("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM"),
        *(format for format, feature in (("AVIF", "avif"), ("JPEG2000", "jpg_2000")) if features.check(feature)),
    )
    """What :meth:`encode` can write and what is decoded here."""

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
    def png_chunks(*chunks: tuple[bytes, bytes]) -> bytes:
        """Chunks of a PNG, each of a kind and a body, for what Pillow does not write."""
        return b"".join(
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
            for kind, body in chunks
        )

    @classmethod
    def png_file(cls, header: bytes, *chunks: tuple[bytes, bytes], pixels: bytes = b"") -> bytes:
        """A PNG put together by hand, of the body of its IHDR, further chunks and its filtered rows."""
        body = cls.png_chunks((b"IHDR", header), *chunks, (b"IDAT", zlib.compress(pixels)), (b"IEND", b""))
        return b"\x89PNG\r\n\x1a\n" + body

    @staticmethod
    def lines(*entries: Mapping[str, object]) -> str:
        """What a metadata.jsonl of these entries holds."""
        return "".join(json.dumps(entry) + "\n" for entry in entries)

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


def save_box(path: Path, width: float = 1.0) -> Path:
    """A mesh without colours, a box of ``width`` x 2 x 3, in the format of the suffix."""
    import trimesh

    path.parent.mkdir(parents=True, exist_ok=True)
    trimesh.creation.box(extents=(width, 2, 3)).export(path)
    return path


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, by name, with its content."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def lines_of(output: Path) -> list[dict]:
    """What an output folder says of its pictures, one after the other."""
    return [json.loads(line) for line in (output / "metadata.jsonl").read_text().splitlines()]


def image_bytes(value: int, size: int = 8) -> bytes:
    """A PNG file of one gray level."""
    file = io.BytesIO()
    Image.new("RGB", (size, size), (value, value, value)).save(file, "PNG")
    return file.getvalue()


def hub_image(value: int) -> dict[str, Any]:
    """An image as the Hub stores it."""
    return {"bytes": image_bytes(value), "path": f"{value}.png"}


def view_rows(objects: int, views: Sequence[str] = ("front", "right", "back", "left")) -> list[dict[str, Any]]:
    """A row for each view; view v of object i has the level 10 i + v."""
    return [
        {"image": hub_image(10 * i + v), "view": view, "label": i % 2, "object": f"o{i}"}
        for i in range(objects)
        for v, view in enumerate(views)
    ]


def make_table(
    rows: Sequence[Mapping[str, Any]],
    features: Mapping[str, Any] | None = None,
    types: Mapping[str, pa.DataType] | None = None,
) -> pa.Table:
    """Rows as a table; columns of images are structs unless ``types`` says otherwise."""
    import pyarrow as pa

    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    given = dict(types or {})
    columns = {}
    for name in rows[0]:
        values = [row[name] for row in rows]
        kind = given.get(name) or (image if any(isinstance(value, dict) for value in values) else None)
        columns[name] = pa.array(values, kind)
    table = pa.table(columns)
    if features is not None:
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    return table


def write_parquet(path: Path, rows: Sequence[Mapping[str, Any]], row_group_size: int = 5, **table: Any) -> Path:
    """A parquet file of rows, and the folders around it."""
    import pyarrow.parquet as pq

    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(make_table(rows, **table), path, row_group_size=row_group_size)
    return path


def damaged(data: bytes, seed: int) -> bytes:
    """The same with up to eight other bytes, every third time cut short."""
    rng = np.random.default_rng(seed)
    changed = bytearray(data)
    # Most of a file is pixels or zeros; what matters comes early.
    reach = len(data) if seed % 4 == 0 else min(len(data), 600)
    for place in rng.integers(0, reach, rng.integers(1, 9)):
        changed[place] = rng.integers(0, 256)
    return bytes(changed[: rng.integers(1, len(data))] if seed % 3 == 0 else changed)
