"""Parquet files and WebDataset shards as others write them."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
CHAIR_SOFA = {"label": {"names": ["chair", "sofa"], "_type": "ClassLabel"}}


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
    given = dict(types or {})
    columns = {}
    for name in rows[0]:
        values = [row[name] for row in rows]
        kind = given.get(name) or (IMAGE if any(isinstance(value, dict) for value in values) else None)
        columns[name] = pa.array(values, kind)
    table = pa.table(columns)
    if features is not None:
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    return table


def write_parquet(path: Path, rows: Sequence[Mapping[str, Any]], row_group_size: int = 5, **table: Any) -> Path:
    """A parquet file of rows, and the folders around it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(make_table(rows, **table), path, row_group_size=row_group_size)
    return path


def write_tar(
    path: Path, members: dict[str, bytes | str | dict], format: int = tarfile.DEFAULT_FORMAT, **fields: Any
) -> Path:
    """A tar file of members in order, whose headers may have other ``fields``; objects become JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=format, errors="surrogateescape") as archive:
        for name, data in members.items():
            data = json.dumps(data) if isinstance(data, dict) else data
            data = data.encode() if isinstance(data, str) else data
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            for field, value in fields.items():
                setattr(entry, field, value)
            archive.addfile(entry, io.BytesIO(data))
    return path
