"""Parquet shards: their rows, their types, and their bytes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest

from dimvida.data.image_files import run_length_png
from dimvida.errors import InputError
from dimvida.generation import settings
from dimvida.generation.formats.base import Picture, Sample
from dimvida.generation.formats.parquet import GROUP, ParquetWriter
from dimvida.generation.run import Generation
from dimvida.generation.stats import StoredFile

pq = pytest.importorskip("pyarrow.parquet")
VIEWS = ("front", "left.1")
CONFIGURATION = {"view_names": VIEWS, "classes": ["chair", "50% é"], "image_format": "png", "cameras": {}}
SAMPLES = 150


def pixels(number: int) -> np.ndarray:
    return np.full((4, 4, 3), number % 256, np.uint8)


def sample(number: int) -> Sample:
    label = (None, 0, 1)[number % 3]
    line = {
        "source": f"o{number}",
        "source_sha256": {"front": "0f", "left.1": None},
        "view": "left.1",
        "camera": {"azimuth": 22.5, "elevation": 30},
        "kind": "real" if number % 2 else "generated",
        "label": None if label is None else CONFIGURATION["classes"][label],
        "known": ["front"],
        "seed": None if number % 2 else 2**63 - 1,
        "sha256": f"{number:064x}",
    }
    picture = Picture("left.1", run_length_png(pixels(number)), line["sha256"], json.dumps(line)[1:-1])
    return Sample(f"chair/o{number}", label, [picture])


def write(folder: Path, batches: Iterable[int]) -> list[StoredFile]:
    writer, start = ParquetWriter(folder, "shard-000000", (4, 4, 3), CONFIGURATION, SAMPLES), 0
    for size in batches:
        rows = [sample(number) for number in range(start, min(start + size, SAMPLES))]
        writer.add(np.empty(0), [writer.lay_out(rows[:3], start), writer.lay_out(rows[3:], start + 3)])
        start += size
    return writer.commit()


def test_the_same_rows_are_the_same_bytes_whatever_the_batches(tmp_path: Path):
    stored = [write(tmp_path, batches) for batches in ([SAMPLES], [7] * 22, [GROUP, SAMPLES - GROUP])]
    assert stored[0] == stored[1] == stored[2]
    assert pq.ParquetFile(tmp_path / stored[0][0].name).metadata.num_row_groups == 2


def test_rows_and_their_pictures(tmp_path: Path):
    write(tmp_path, [SAMPLES])
    lines = list(ParquetWriter.lines(tmp_path, "shard-000000"))
    assert [line["row"] for line in lines] == list(range(SAMPLES))
    for number in (0, 1, 2, SAMPLES - 1):
        expected = json.loads(f"{{{sample(number).pictures[0].line}}}")
        assert {name: lines[number][name] for name in expected} == expected
        assert lines[number]["key"] == f"chair/o{number}" and lines[number]["steps"] is None
    chosen = [lines[number] for number in (140, 3, 127)]
    for line, picture in zip(chosen, ParquetWriter.pixels(tmp_path, "shard-000000", chosen), strict=True):
        assert np.array_equal(picture, pixels(line["row"]))
    assert list(ParquetWriter.lines(tmp_path, "shard-000001")) == []


def test_images_are_as_they_were_and_the_rest_is_packed(tmp_path: Path):
    write(tmp_path, [SAMPLES])
    group = pq.ParquetFile(tmp_path / "shard-000000.parquet").metadata.row_group(0)
    chunks = {group.column(place).path_in_schema: group.column(place) for place in range(group.num_columns)}
    assert chunks["image.bytes"].compression == "UNCOMPRESSED" and not chunks["image.bytes"].is_stats_set
    del chunks["image.bytes"]
    assert {"source_sha256.left.1", "known.list.element", "camera.azimuth"} < set(chunks)
    assert all(chunk.compression == "ZSTD" and chunk.is_stats_set for chunk in chunks.values())


def test_what_is_given_up_leaves_nothing(tmp_path: Path):
    writer = ParquetWriter(tmp_path, "shard-000000", (4, 4, 3), CONFIGURATION, SAMPLES)
    writer.add(np.empty(0), [writer.lay_out([sample(number) for number in range(GROUP + 1)], 0)])
    writer.abort()
    del writer
    assert list(tmp_path.iterdir()) == []


def test_without_pyarrow_a_line_names_the_extra(start: Callable[..., Generation], tmp_path: Path, monkeypatch):
    monkeypatch.setattr(settings, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"--format parquet: needs pyarrow; pip install 'dimvida\[parquet\]'"):
        start(tmp_path / "out", format="parquet")


def test_hugging_face_datasets_knows_images_and_classes_of_the_files_and_of_the_folder(start, tmp_path: Path):
    datasets = pytest.importorskip("datasets")
    with start(tmp_path / "out", format="parquet", steps=1) as generation:
        generation.run()
    files = str(tmp_path / "out" / "*.parquet")
    alone = datasets.load_dataset("parquet", data_files=files, cache_dir=str(tmp_path / "cache"))["train"]
    folder = datasets.load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))["train"]
    assert alone.features == folder.features and len(alone) == len(folder) == 22 * 3
    assert folder.features["image"] == datasets.Image() and folder.features["label"] == datasets.ClassLabel(
        names=["chair"]
    )
    assert np.array_equal(np.asarray(alone[5]["image"]), np.asarray(folder[5]["image"])) and alone[5]["label"] == 0
