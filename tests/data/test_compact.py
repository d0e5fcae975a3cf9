"""Records made of arrays when they are asked for."""

from __future__ import annotations

import pickle

import numpy as np

from dimvida.data.compact import CompactFiles, CompactRecords, ObjectTable


def table(objects: int) -> ObjectTable:
    return ObjectTable(
        views=("front", "left"),
        classes=("", "chair"),
        splits=("", "train"),
        names=None,
        name=np.arange(objects),
        label=np.arange(objects, dtype=np.int32) % 2,
        split=np.ones(objects, np.int32),
        starts=2 * np.arange(objects + 1),
        view=np.tile(np.array([0, 1], np.int16), objects),
        place=np.arange(2 * objects),
        kind=np.arange(2 * objects) % 2 == 1,
    )


def test_records_are_those_of_the_arrays():
    records, files = CompactRecords(table(3)), CompactFiles(table(3))
    assert [record.id for record in records] == ["train/00000000", "train/chair/00000001", "train/00000002"]
    assert records[-1].views == ("front", "left") and len(records) == 3
    assert files[1] == ((2, 0, False), (3, 1, True))


def test_some_of_them_in_another_order():
    taken = CompactRecords(table(5)).take([4, 1, 2]).take([2, 0])
    assert [record.name for record in taken] == ["00000002", "00000004"]
    assert [record.name for record in CompactRecords(table(5))[3:]] == ["00000003", "00000004"]


def test_a_copy_for_another_process_is_small():
    records = CompactRecords(table(10_000))
    data = pickle.dumps(records)
    assert len(data) < 60 * 10_000 and list(pickle.loads(data)[:3]) == list(records[:3])
