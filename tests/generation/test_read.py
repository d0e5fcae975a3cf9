"""Rows are read in chunks, and come in batches that end with their shards."""

from __future__ import annotations

from pathlib import Path

import torch
from hypothesis import given
from hypothesis import strategies as st

from dimvida.data.opening import open_source
from dimvida.generation.plan import cut_shards, make_plan
from dimvida.generation.read import CHUNK, RowReader, read_batches

SIZES = st.integers(1, 300)
VIEWS = ("front", "right", "back", "left")


@given(rows=SIZES, size=SIZES, batch=SIZES)
def test_every_row_is_read_once_and_in_the_batch_that_is_said(rows: int, size: int, batch: int):
    asked: list[range] = []

    class Part:
        def __init__(self, chunk: range) -> None:
            asked.append(chunk)
            self.rows, self.hashes, self.skipped, self.notes = tuple(chunk), (), (), {"read": [str(chunk.start)]}
            self.views = self.known = torch.zeros(len(chunk))

    shards = cut_shards(rows, size)
    read = list(read_batches(shards, batch, lambda chunks: map(Part, chunks)))
    batches = [(shard, places) for shard in shards for places in shard.batches(batch)]
    assert [(shard, places) for shard, places, _ in read] == batches
    assert all(part.rows == tuple(places) for _, places, part in read)
    assert [row for chunk in asked for row in chunk] == list(range(rows))
    assert max(map(len, asked)) <= CHUNK
    assert [name for _, _, part in read for name in part.notes["read"]] == [str(chunk.start) for chunk in asked]


def test_no_chunk_is_asked_for_before_its_batch_is_wanted(tmp_path: Path, write_objects):
    data = write_objects(tmp_path / "data", {f"chair/{letter}": ("front", "left") for letter in "abc"})
    plan, claimed = make_plan(open_source(data), VIEWS), []

    def claim():
        for shard in cut_shards(len(plan), 1):
            claimed.append(shard.number)
            yield shard

    batches = read_batches(claim(), 5, lambda chunks: map(RowReader(plan, 16).read, chunks))
    shard, rows, batch = next(batches)
    assert (shard.number, rows, claimed) == (0, range(1), [0])
    assert [row.task.record.id for row in batch.rows] == ["chair/a"]
    assert [shard.number for shard, _, _ in batches] == [1, 2] == claimed[1:]
