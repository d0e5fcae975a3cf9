"""Rows are read in chunks, come in batches that end with their shards, and are said to be strange where they are."""

from __future__ import annotations

import dataclasses
import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.objects import VIEWS
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dimvida.cli.app import run
from dimvida.data.opening import open_source
from dimvida.data.sample import sample_input
from dimvida.generation.plan import cut_shards, make_plan
from dimvida.generation.read import (
    BACKGROUND_NOTE,
    CHUNK_ROWS,
    CLASS_NOTE,
    LIKENESS_NOTE,
    ReadBatch,
    RowReader,
    read_batches,
)
from dimvida.models.checkpoint import load_checkpoint, save_checkpoint
from dimvida.models.familiarity import InputStatistics

SIZES = st.integers(1, 300)


@given(rows=SIZES, size=SIZES, batch=SIZES)
def test_every_row_is_read_once_and_in_the_batch_that_is_said(rows: int, size: int, batch: int):
    asked: list[range] = []

    class Reader:
        """Two images of every row, which say its number; of some rows none can be read."""

        shape = (1, 1, 1)

        class plan:
            @staticmethod
            def known_in(places: range) -> int:
                return 2 * len(places)

        def read(self, chunk: range, room: torch.Tensor) -> ReadBatch:
            asked.append(chunk)
            assert len(room) == 2 * len(chunk)
            found = [place for place in chunk if place % 5]
            for number, place in enumerate(found):
                room[2 * number : 2 * number + 2] = place % 256
            return ReadBatch(tuple(found), room[: 2 * len(found)], (), (), {"read": [str(chunk.start)]})

    shards, reader = cut_shards(rows, size), Reader()
    read = list(read_batches(shards, batch, reader, lambda chunks: itertools.starmap(reader.read, chunks)))
    batches = [(shard, places) for shard in shards for places in shard.batches(batch)]
    assert [(shard, places) for shard, places, _ in read] == batches
    for _, places, part in read:
        assert part.rows == tuple(place for place in places if place % 5)
        assert part.images.flatten().tolist() == [place % 256 for place in part.rows for _ in range(2)]
    assert [row for chunk in asked for row in chunk] == list(range(rows))
    assert max(map(len, asked)) <= CHUNK_ROWS
    assert [name for _, _, part in read for name in part.notes["read"]] == [str(chunk.start) for chunk in asked]


def test_no_chunk_is_asked_for_before_its_batch_is_wanted(tmp_path: Path, write_objects):
    data = write_objects(tmp_path / "data", {f"chair/{letter}": ("front", "left") for letter in "abc"})
    plan, claimed = make_plan(open_source(data), VIEWS), []

    def claim():
        for shard in cut_shards(len(plan), 1):
            claimed.append(shard.number)
            yield shard

    reader = RowReader(plan, 16)
    batches = read_batches(claim(), 5, reader, lambda chunks: itertools.starmap(reader.read, chunks))
    shard, rows, batch = next(batches)
    assert (shard.number, rows, claimed) == (0, range(1), [0])
    assert [row.task.record.id for row in batch.rows] == ["chair/a"]
    assert [shard.number for shard, _, _ in batches] == [1, 2] == claimed[1:]


WHITE = InputStatistics((255.0,) * 3, 0.0, 255.0)


def picture(colour: tuple[int, int, int], size: int = 16) -> Image.Image:
    """A dark square on a plain background."""
    pixels = np.full((size, size, 3), colour, np.uint8)
    pixels[4:-4, 4:-4] = 30
    return Image.fromarray(pixels)


@pytest.fixture
def known_inputs(tiny_checkpoint: Path, tmp_path: Path) -> Path:
    """The tiny checkpoint, said to be trained on white chairs."""
    checkpoint = load_checkpoint(tiny_checkpoint)
    checkpoint.config = dataclasses.replace(checkpoint.config, classes=("chair",), inputs=WHITE)
    save_checkpoint(tmp_path / "model", checkpoint)
    assert load_checkpoint(tmp_path / "model").config.inputs == WHITE
    return tmp_path / "model"


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    for name, colour in {
        "chair/a": (255, 255, 255),
        "chair/b": (250, 252, 255),
        "chair/c": (90, 140, 60),
        "dog/d": (255, 255, 255),
        "dog/e": (0, 0, 0),
    }.items():
        path = tmp_path / "in" / f"{name}__front.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture(colour).save(path)
    return tmp_path / "in"


def generate(*options: object) -> int:
    return run(["generate", *map(str, options), "--steps", "1"])


def notes(output: Path) -> dict[str, tuple[int, str]]:
    report = json.loads((output / "report.json").read_text())
    return {note["note"]: (note["images"], note["first"]) for note in report["notes"]}


@pytest.mark.parametrize("more", [(), ("--shard-size", 2, "--batch", 1), ("--samples-per-view", 3), ("--workers", 1)])
def test_strange_images_are_counted_once_and_named(
    known_inputs: Path, inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: tuple
):
    assert generate("--data", inputs, "--out", tmp_path / "out", "--checkpoint", known_inputs, *more) == 0
    assert notes(tmp_path / "out") == {
        BACKGROUND_NOTE: (2, "chair/c__front.png"),
        CLASS_NOTE: (2, "dog/d__front.png"),
    }
    printed = capsys.readouterr().out
    assert printed.count(f"note: {BACKGROUND_NOTE}: 2 images (first: chair/c__front.png)") == 1
    assert printed.count(f"note: {CLASS_NOTE}: 2 images (first: dog/d__front.png)") == 1


def test_a_checkpoint_that_does_not_say_what_it_was_trained_on_says_nothing(
    tiny_checkpoint: Path, inputs: Path, tmp_path: Path
):
    assert generate("--data", inputs, "--out", tmp_path / "out", "--checkpoint", tiny_checkpoint) == 0
    assert notes(tmp_path / "out") == {}


def test_the_bundled_model_knows_its_sample_and_no_photographs(tmp_path: Path):
    assert generate("--data", sample_input(), "--out", tmp_path / "sample") == 0
    assert not {BACKGROUND_NOTE, CLASS_NOTE, LIKENESS_NOTE} & notes(tmp_path / "sample").keys()
    generator = torch.Generator().manual_seed(0)
    (tmp_path / "photos/cat").mkdir(parents=True)
    for number, cells in enumerate((4, 8, 16)):  # smooth to rough, all over the picture
        rough = torch.rand(1, 3, cells, cells, generator=generator)
        smooth = torch.nn.functional.interpolate(rough, (64, 64), mode="bicubic").clamp(0, 1)[0]
        pixels = (smooth * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
        Image.fromarray(pixels).save(tmp_path / f"photos/cat/{number}.png")
    photos = ("--data", tmp_path / "photos", "--view", "front")
    assert generate(*photos, "--out", tmp_path / "out") == 0
    first = (3, "cat/0.png")
    assert notes(tmp_path / "out") == {BACKGROUND_NOTE: first, CLASS_NOTE: first, LIKENESS_NOTE: first}
